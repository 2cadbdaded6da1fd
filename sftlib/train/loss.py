"""TRL's SFTTrainer with the loss taken at supervised places only: equal in value and gradient, a part of the work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import trl
from trl.trainer import sft_trainer

from sftlib.data.collation import supervision
from sftlib.train.head import add_supervised_head
from sftlib.train.optimizers import speed_up_b
from sftlib.train.resuming import keeping_types

_NOT_FOR_MODELS = ("labels", "shift_labels", "record_tokens")


class SupervisedTrainer(trl.SFTTrainer):
    """trl.SFTTrainer whose loss looks at the places that the collator names."""

    def __init__(
        self,
        *args: Any,
        head_places: int | None = None,
        loss_kernel: str = "torch",
        lora_plus_ratio: float | None = None,
        **kwargs: Any,
    ) -> None:
        self._lora_plus_ratio = lora_plus_ratio
        with _adapters_on_heads():
            super().__init__(*args, **kwargs)
        model: Any = self.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        plugin = self.args.deepspeed_plugin
        if plugin is not None and plugin.zero_stage == 3:
            # ZeRO-3 gathers a module's weights at each call: ranks that call the head unequally often wait for ever.
            head_places = sys.maxsize
        add_supervised_head(base, places=head_places, smoothing=self.args.label_smoothing_factor,
                            reentrant=plugin is not None and plugin.zero_stage == 3, kernel=loss_kernel)  # fmt: skip
        self._evaluated = torch.zeros(2, dtype=torch.float64)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' optimiser, with LoRA+ where it is asked for."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and self._lora_plus_ratio:
            speed_up_b(optimizer, self.model, self._lora_plus_ratio)
        return optimizer

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with keeping_types(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    @property
    def trained_tokens(self) -> float:
        """Tokens of all ranks since this process began; what was trained before a resume is not among them."""
        return float(self._total_train_tokens)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if "kept" not in inputs:
            inputs = {**inputs, **supervision(inputs["labels"])}
        given = {name: value for name, value in inputs.items() if name not in _NOT_FOR_MODELS}
        if self.aux_loss_enabled:
            given["output_router_logits"] = True
        outputs = model(**given, use_cache=False)
        supervised = inputs["weights"].sum()
        loss = self._normalised(outputs["loss"], supervised, num_items_in_batch)
        if self.aux_loss_enabled:
            steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
            loss = loss + self.router_aux_loss_coef * outputs["aux_loss"] / steps
        self._count(inputs, outputs, supervised)
        return (loss, outputs) if return_outputs else loss

    def _normalised(self, total: torch.Tensor, supervised: torch.Tensor, num_items: Any) -> torch.Tensor:
        """The mean over the supervised tokens of the whole optimiser step, on all ranks and accumulated batches."""
        if num_items is None:
            return total / supervised.clamp(min=1)
        loss = total / torch.as_tensor(num_items, device=total.device).clamp(min=1)
        # `num_items` counts every rank's tokens, and DDP averages gradients over the ranks.
        return loss * self.accelerator.num_processes if self.args.average_tokens_across_devices else loss

    @torch.no_grad()
    def _count(self, inputs: dict[str, Any], outputs: dict[str, Any], supervised: torch.Tensor) -> None:
        """The metrics that TRL logs: share of supervised tokens that are the likeliest, and tokens seen so far."""
        mode = "train" if self.model and self.model.training else "eval"
        seen = inputs.get("record_tokens", torch.tensor(inputs["input_ids"].numel()))
        hits = torch.as_tensor(0 if outputs["hits"] is None else outputs["hits"], device=supervised.device)
        counts = torch.stack([hits, supervised, seen.to(supervised.device)]).double()
        totals = torch.cat([counts, outputs["loss"].detach().double()[None]])
        # not gather_for_metrics: it would cut these four numbers as if they were records of a last, shorter batch
        hit, count, tokens, loss = self.accelerator.gather(totals[None]).sum(0).tolist()
        if outputs["hits"] is not None:  # a kernel that never writes logits cannot say
            self._metrics[mode]["mean_token_accuracy"].append(hit / max(1, count))
        if mode == "train":
            self._total_train_tokens += int(tokens)
        else:
            self._evaluated += torch.tensor([loss, count], dtype=torch.float64)
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def evaluation_loop(self, dataloader: Any, description: str, prediction_loss_only: bool | None = None,
                        ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval") -> Any:  # fmt: skip
        """The loss of an evaluation is the mean over its supervised tokens, however they were batched."""
        self._evaluated.zero_()
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        total, count = self._evaluated.tolist()
        if count and output.metrics is not None:
            output.metrics[f"{metric_key_prefix}_loss"] = total / count
        return output


@contextmanager
def _adapters_on_heads() -> Iterator[None]:
    """TRL refuses an adapter on the output head because its own loss would pass it by; ours calls the head as it is."""
    known = sft_trainer.BaseTunerLayer
    sft_trainer.BaseTunerLayer = type("NoLayer", (), {})  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        sft_trainer.BaseTunerLayer = known  # type: ignore[misc]
