"""SFTTrainer: one cell, from its configuration to its adapter. A table of contents: each step calls its owner."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import trl
from transformers import PrinterCallback, TrainerCallback, set_seed

from sftlib.artifacts.adapters import AdapterRecord
from sftlib.artifacts.atomic import replacing_dir, write_json
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import Progress, ProgressFile, say
from sftlib.artifacts.ranks import is_main
from sftlib.artifacts.receipt import stage_receipt
from sftlib.config.inputs import Split, training_splits
from sftlib.config.steps import steps_in_words
from sftlib.config.tree import SFTConfig
from sftlib.convergence.picture import draw_logged
from sftlib.data.processing import SFTDatasetProcessor
from sftlib.data.rendering import tokenizer_digest
from sftlib.data.rows import Rows
from sftlib.errors import DataError, StoppedError
from sftlib.models.hardware import dtype_name
from sftlib.models.loading import load_base, load_tokenizer, model_identity, model_source
from sftlib.models.memory import naming_out_of_memory
from sftlib.models.merging import fold_adapter
from sftlib.models.products import extend_products
from sftlib.paths import CellPaths
from sftlib.train.adapter import (
    check_targets,
    count_parameters,
    gathered_weights,
    lora_config,
    model_card,
    publish_adapter,
)
from sftlib.train.arguments import training_arguments
from sftlib.train.batches import dataset_of, plan_batches
from sftlib.train.callbacks import (
    CheckpointCallback,
    EngineCallback,
    MetricsCallback,
    SFTCallback,
)
from sftlib.train.checkpointing import resolve_checkpointing
from sftlib.train.divergence import DivergenceCallback, check_weights
from sftlib.train.engines import sharded_layers
from sftlib.train.group import check_world, main_first, open_group, wait_for_all
from sftlib.train.kernels import (
    apply_adapter_kernel,
    apply_layer_kernels,
    choose_loss_kernel,
    choose_optimizer,
    compile_layers,
)
from sftlib.train.loggers import keep_logs_inside, logger_callbacks
from sftlib.train.loss import SupervisedTrainer
from sftlib.train.performance import Took, performance
from sftlib.train.resuming import checkpoint_to_resume, forget_lost_steps
from sftlib.train.stopping import StopRequest
from sftlib.train.unsloth import load_for_unsloth
from sftlib.train.validation import validation_callbacks

SUMMARY_VERSION = 1


class SFTTrainer:
    """Trains one cell: `SFTTrainer(config).train()` returns metrics and paths."""

    def __init__(
        self,
        config: SFTConfig,
        callbacks: Sequence[SFTCallback] | None = None,
        *,
        output_dir: str | Path | None = None,
        splits: dict[str, Split] | None = None,
        progress: ProgressFile | None = None,
        request: StopRequest | None = None,
    ) -> None:
        self.config = config
        self.callbacks = list(callbacks or [])
        self.cell = CellPaths(Path(output_dir or Path("runs") / config.name).absolute())
        self.splits = splits
        self.is_stage = progress is not None  # of a run, which has further stages
        self.progress = progress or ProgressFile(None, Progress("train", "train", self.cell.name))
        self.checkpointing = CheckpointCallback(config, request)

    def train(self) -> dict[str, Any]:
        """Load, prepare, train, publish; the summary is written last."""
        open_group(self.config.parallel.timeout_min)
        check_world(self.config)
        torch.set_num_threads(self.config.train.threads)
        set_seed(self.config.train.seed)
        self.cell.root.mkdir(parents=True, exist_ok=True)
        with main_first():
            self._load_template()
            rows, validation = self._prepare_datasets()
        model = self._load_model()
        trainer = self._create_trl_trainer(model, rows, validation)
        started = time.time()
        metrics = self._run(trainer)
        record = self._save(trainer, metrics)
        seconds = time.time() - started
        summary = self._summarise(metrics, record, rows, seconds, self._performance(trainer, rows))
        return {**summary, "merged": self._save_merged_model()}

    def _load_template(self) -> None:
        self.tokenizer = load_tokenizer(self.config)
        self.processor = SFTDatasetProcessor(self.config, self.tokenizer)
        template = self.processor.renderer.template
        say(f"template {template.name}: {template.reason}")
        self.tokenizer.chat_template = template.source  # saved beside the adapter: whoever loads it renders as we did

    def _load_model(self) -> Any:
        if self.config.train.backend == "unsloth":
            model = load_for_unsloth(self.config, model_source(self.config))
        else:
            model = load_base(self.config, is_trained=True)
        self.kernels: dict[str, Any] = {
            "layers": apply_layer_kernels(self.config, model),
            "loss": choose_loss_kernel(self.config),
        }
        model.config.use_cache = False
        check_targets(model, self.config)
        self.layers = sharded_layers(model)
        self.dtype = dtype_name(model.dtype)
        return model

    def _prepare_datasets(self) -> tuple[Rows, Rows | None]:
        splits: dict[str, Split | str] = {**(self.splits or {name: name for name in training_splits(self.config)})}
        rows = self.processor.rows(splits["train"])
        if not rows.supervised_tokens:
            raise DataError(
                f"data.train: no token of its {len(rows)} records is supervised, every label is masked: set train.loss_on "
                f"to what the records have ({self.config.train.loss_on!r} now); sft audit EXPERIMENT shows what is learnt from"
            )
        validation = self.processor.rows(splits["validation"]) if "validation" in splits else None
        say(f"train: {len(rows)} records, {rows.tokens} tokens, {rows.supervised_tokens} supervised")
        return rows, validation

    def _create_training_args(self, num_rows: int, *, has_validation: bool) -> trl.SFTConfig:
        config = self.batches.applied(self.settled)
        say(steps_in_words(config, num_rows))
        return training_arguments(
            config, self.cell.checkpoints, num_rows, has_validation=has_validation, layers=self.layers
        )

    def _create_trl_trainer(self, model: Any, rows: Rows, validation: Rows | None) -> SupervisedTrainer:
        self.metering = MetricsCallback(self.cell.metrics, self.progress)
        keep_logs_inside(self.config, self.cell)
        forget_lost_steps(self.cell)
        self.batches = plan_batches(self.config, rows, model)
        say(self.batches.sentence)
        self.settled, self.kernels["checkpointing"] = resolve_checkpointing(self.config, model.config, rows)
        trainer = SupervisedTrainer(
            model=model,
            args=self._create_training_args(self.batches.items(rows), has_validation=validation is not None),
            train_dataset=dataset_of(rows, self.batches.rows),
            eval_dataset=dataset_of(validation) if validation else None,
            processing_class=self.tokenizer,
            data_collator=self.batches.collator(self.tokenizer.pad_token_id, self.config.train.pad_to_multiple),
            head_places=self.config.train.head_tokens,
            loss_kernel=self.kernels["loss"],
            peft_config=None if self.config.train.backend == "unsloth" else lora_config(self.config),
            callbacks=[
                self.metering,
                DivergenceCallback(self.config),
                *self._watching(),
                self.checkpointing,
                *self.callbacks,
            ],
            lora_plus_ratio=self.config.lora.lora_plus_ratio,
        )
        self.trl_trainer = trainer
        extend_products(trainer.model)
        self.kernels["adapters"] = apply_adapter_kernel(self.config, trainer.model)
        self.kernels["optimizer"] = choose_optimizer(self.config)
        self.kernels["compiled_layers"] = compile_layers(trainer.model) if self.config.train.compile else 0
        trainer.remove_callback(PrinterCallback)  # it would print each metrics line a second time
        trainer.add_callback(EngineCallback(trainer, self.config))
        self.weights = count_parameters(trainer.model)
        say(f"trainable {self.weights[0]:,} of {self.weights[1]:,} weights ({self.weights[0] / self.weights[1]:.2%})")
        return trainer

    def _watching(self) -> list[TrainerCallback]:
        split = (self.splits or {}).get("validation")
        renderer = self.processor.renderer
        answering = validation_callbacks(
            self.config, split, renderer, self.cell, lambda found: self.trl_trainer.log(found)
        )
        return [*answering, *logger_callbacks(self.config, self.cell)]

    def _run(self, trainer: trl.SFTTrainer) -> dict[str, float]:
        checkpoint = checkpoint_to_resume(self.cell, self.config)
        if checkpoint:
            say(f"resuming from {checkpoint.name}")
        with naming_out_of_memory(self.config, "training"):
            metrics = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).metrics
        if self.checkpointing.stopped:
            self.progress.update(state="stopped")
            raise StoppedError(
                f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; a checkpoint is there"
            )
        return metrics

    def _save(self, trainer: trl.SFTTrainer, metrics: dict[str, float]) -> AdapterRecord | None:
        """The adapter whole, written by rank 0."""
        weights = gathered_weights(trainer)
        if not is_main():
            return None
        model = trainer.accelerator.unwrap_model(trainer.model)
        check_weights(model, weights, self.config, self.cell.checkpoints, trainer.state.global_step)
        facts = {
            "base": model_identity(self.config),
            "prompt_sha256": self.processor.renderer.fingerprint(),
            "tokenizer_sha256": tokenizer_digest(self.tokenizer),
            "dtype": self.dtype,
        }
        card = model_card(self.config, self.cell.name, metrics.get("train_loss"))
        return publish_adapter(model, self.tokenizer, self.cell, facts, card, weights)

    def _performance(self, trainer: SupervisedTrainer, rows: Rows) -> dict[str, Any]:
        model: Any = trainer.model
        computed = self.batches.computed / self.batches.tokens
        # Batches by length begin with the longest: its surplus is no warm-up.
        warm_up = None if self.config.train.group_by_length else self.metering.warm_up_s
        passes = self.metering.steps * self.batches.accumulation
        took = Took(passes, self.metering.stepping_s, warm_up)
        return performance(self.settled, model.config, rows, trainer.trained_tokens, took, computed)

    def _save_merged_model(self) -> str | None:
        """Fold the adapter into its base. In a run that is a stage of its own, which also compares answers."""
        if self.is_stage or not is_main() or not (self.config.train.save_merged_model and self.config.lora.enabled):
            return None
        with replacing_dir(self.cell.merged) as folder:
            fold_adapter(self.config, self.cell.adapter, folder)
        return str(self.cell.merged)

    def _summarise(
        self,
        metrics: dict[str, float],
        record: AdapterRecord | None,
        rows: Rows,
        seconds: float,
        took: dict[str, Any],
    ) -> dict[str, Any]:
        """The summary, written by rank 0 when all else is there; every rank waits for it."""
        places = {"adapter": str(self.cell.adapter), "summary": str(self.cell.summary)}
        if record is None:
            wait_for_all()
            return {"metrics": metrics, **places}
        summary = {
            "schema_version": SUMMARY_VERSION,
            "complete": True,
            "cell": self.cell.name,
            "config_sha256": sha256_value(self.config.to_dict()),
            "adapter_sha256": record.weights_sha256,
            "records": len(rows),
            "tokens": rows.tokens,
            "supervised_tokens": rows.supervised_tokens,
            "batches": self.batches.facts(),
            "kernels": self.kernels,
            "trainable_weights": self.weights[0],
            "weights": self.weights[1],
            "train_loss": metrics.get("train_loss"),
            "seconds": round(seconds, 2),
            "performance": took,
            "receipt": stage_receipt(),
        }
        draw_logged(self.cell)
        write_json(self.cell.summary, summary)
        self.progress.update(state="done", force=True)
        wait_for_all()
        return {**summary, "metrics": metrics, **places}
