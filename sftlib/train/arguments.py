"""Our configuration as TRL's: the one place where names are translated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import trl

from sftlib.config.steps import warmup_steps
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.train.engines import engine_arguments
from sftlib.train.kernels import choose_optimizer
from sftlib.train.loggers import reported_to


def training_arguments(
    config: SFTConfig, output_dir: Path, num_rows: int, *, has_validation: bool, layers: Sequence[str] = ()
) -> trl.SFTConfig:
    """TRL's arguments for this cell; `layers` names the classes that FSDP shards one by one."""
    train = config.train
    precision = _precision(config)
    rhythm: dict[str, Any] = _rhythm(train.eval_steps) if has_validation else {"eval_strategy": "no"}
    return trl.SFTConfig(
        output_dir=str(output_dir),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=train.batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.scheduler,
        warmup_steps=warmup_steps(config, num_rows),
        optim=choose_optimizer(config),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        label_smoothing_factor=train.label_smoothing,
        neftune_noise_alpha=train.neftune_alpha,
        gradient_checkpointing=bool(train.gradient_checkpointing),
        gradient_checkpointing_kwargs=_recomputing(train.gradient_checkpointing),
        activation_offloading=train.activation_offload,
        logging_steps=train.logging_steps,
        logging_first_step=True,
        # The loss scale of fp16 drops such steps; else a loss that is no number is told (divergence.py).
        logging_nan_inf_filter=precision["fp16"],
        disable_tqdm=True,  # our own progress; two bars on one line are none
        report_to=reported_to(config),
        project=config.name,
        run_name=train.run_name or config.name,
        seed=train.seed,
        data_seed=train.seed,
        packing=False,  # rows are planned and laid out by us
        max_length=None,  # over-long records were treated before
        router_aux_loss_coef=train.router_aux_loss,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows come tokenised
        remove_unused_columns=False,  # the column of row numbers is no argument of the model
        pad_to_multiple_of=train.pad_to_multiple,
        train_sampling_strategy="group_by_length" if train.group_by_length else "random",
        save_total_limit=max(2, train.save_total_limit),  # the last whole one stays until the next one is whole
        dataloader_pin_memory=torch.cuda.is_available(),
        **engine_arguments(config, list(layers)),
        **precision,
        **rhythm,
        **(_best(config) if has_validation else {}),
        **_saving(config),
    )


def _recomputing(asked: bool | str) -> dict[str, Any] | None:
    """TRL's word for recomputing all but attention is `selective`."""
    if not asked:
        return None
    return {"use_reentrant": False, **({"selective": True} if asked == "selective" else {})}


def _rhythm(steps: int | None) -> dict[str, Any]:
    return {"eval_strategy": "steps", "eval_steps": steps} if steps else {"eval_strategy": "epoch"}


def _best(config: SFTConfig) -> dict[str, Any]:
    """The model that is kept, and what early stopping looks at."""
    train = config.train
    if not train.keep_best and train.early_stopping_patience is None:
        return {}
    return {
        "metric_for_best_model": train.best_metric, "greater_is_better": not train.best_metric.endswith("loss"),
        "load_best_model_at_end": train.keep_best,
        "restore_callback_states_from_checkpoint": True,  # a requeued run goes on counting its patience
    }  # fmt: skip


def _saving(config: SFTConfig) -> dict[str, Any]:
    """A best model can only be one that was saved: with keep_best every evaluation saves."""
    steps = config.train.eval_steps if config.train.keep_best else config.train.save_steps
    return {"save_strategy": "steps", "save_steps": steps} if steps else {"save_strategy": "epoch"}


def _precision(config: SFTConfig) -> dict[str, Any]:
    """Autocast only where a GPU gains from it: on a CPU the base's own type already decides the matrix products."""
    wanted = config.train.precision
    if not torch.cuda.is_available():
        if wanted == "fp16":
            raise InputError("train.precision = 'fp16' needs a GPU: use fp32 or bf16 on a CPU")
        return {"bf16": wanted == "bf16", "fp16": False}
    bf16 = wanted == "bf16" or (wanted == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
    return {"bf16": bf16, "fp16": wanted == "fp16" or (wanted == "auto" and not bf16)}
