"""TRL's SFTTrainer with the loss taken at supervised positions only: equal in value and gradient, a part of the work.

TRL 1.16 skips unsupervised positions only where Triton runs; elsewhere it projects every position on the vocabulary.
`logits_to_keep` is an argument of transformers' own forward, so that DDP, FSDP and ZeRO wrappers see a plain call.
"""

from __future__ import annotations

from typing import Any

import torch
import trl
from torch.nn.functional import cross_entropy

from sftlib.data.collation import kept_positions
from sftlib.data.rendering import IGNORED


class SupervisedTrainer(trl.SFTTrainer):
    """trl.SFTTrainer whose loss looks at `logits_to_keep`."""

    @property
    def trained_tokens(self) -> float:
        """Tokens of all ranks since this process began; what was trained before a resume is not among them."""
        return float(self._total_train_tokens)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        keep = inputs.pop("logits_to_keep", None)
        keep = kept_positions(labels) if keep is None else keep
        outputs = model(**inputs, use_cache=False, logits_to_keep=keep)
        targets = labels[:, keep + 1]
        loss = self._normalised(outputs.logits, targets, num_items_in_batch)
        self._count(inputs, outputs.logits, targets)
        return (loss, outputs) if return_outputs else loss

    def _normalised(self, logits: torch.Tensor, targets: torch.Tensor, num_items: Any) -> torch.Tensor:
        """The mean over the supervised tokens of the whole optimiser step, on all ranks and accumulated batches."""
        smoothing = self.args.label_smoothing_factor
        total = cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=smoothing,
        )
        if num_items is None:
            return total / (targets != IGNORED).sum().clamp(min=1)
        loss = total / torch.as_tensor(num_items, device=total.device).clamp(min=1)
        # `num_items` counts every rank's tokens, and DDP averages gradients over the ranks.
        return loss * self.accelerator.num_processes if self.args.average_tokens_across_devices else loss

    @torch.no_grad()
    def _count(self, inputs: dict[str, Any], logits: torch.Tensor, targets: torch.Tensor) -> None:
        """The metrics that TRL logs: share of supervised tokens that are the likeliest, and tokens seen so far."""
        mode = "train" if self.model and self.model.training else "eval"
        valid = targets != IGNORED
        hits = (logits.argmax(-1) == targets) & valid
        seen = (
            inputs["attention_mask"].sum() if "attention_mask" in inputs else torch.tensor(inputs["input_ids"].numel())
        )
        counts = torch.stack([hits.sum(), valid.sum(), seen.to(hits.device)])
        hit, supervised, tokens = self.accelerator.gather_for_metrics(counts[None]).sum(0).tolist()
        self._metrics[mode]["mean_token_accuracy"].append(hit / max(1, supervised))
        if mode == "train":
            self._total_train_tokens += tokens
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
