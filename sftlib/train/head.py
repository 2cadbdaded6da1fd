"""The output head and the loss at supervised places only, some at a time, so that no memory grows with the vocabulary.

The model's own forward is wrapped, as TRL and Liger do it: under DDP, FSDP and ZeRO the head then runs inside the wrapped
call. The head is called as a module, so that an adapter on it, a trained copy of it or a tied embedding are what they are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from sftlib.config.estimate.memory import LOGITS_BYTES

# Models with one of these change the logits after the head, in their own forward.
_SCALES = ("logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")


@dataclass(frozen=True)
class Supervision:
    """Token `targets[j]` is predicted from the hidden state at `kept[picks[j]]`, by `weights[j]` records."""

    kept: torch.Tensor
    picks: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    NAMES = ("kept", "picks", "targets", "weights")

    def chunks(self, size: int) -> Iterator[Supervision]:
        """The same in parts of at most `size` places."""
        for start in range(0, max(1, len(self.kept)), size):
            kept = self.kept[start : start + size]
            bounds = torch.tensor([start, start + len(kept)], device=self.picks.device)
            low, high = torch.searchsorted(self.picks, bounds).tolist()  # picks ascend
            yield Supervision(kept, self.picks[low:high] - start, self.targets[low:high], self.weights[low:high])


def add_supervised_head(
    model: Any, *, places: int | None = None, smoothing: float = 0.0, reentrant: bool = False, kernel: str = "torch"
) -> None:
    """Teach a causal language model `forward(..., supervision=...)`, which returns the summed loss and the hits."""
    own_forward = model.forward
    config = model.config.get_text_config()
    places = places or max(1, LOGITS_BYTES // (4 * config.vocab_size))

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, kept: Any = None, picks: Any = None, targets: Any = None, weights: Any = None,
                **kwargs: Any) -> Any:  # fmt: skip
        if kept is None:
            return own_forward(*args, **kwargs)
        wanted = Supervision(kept, picks, targets, weights)
        if not has_plain_head(config) or kwargs.get("output_router_logits"):
            return _by_own_forward(own_forward, args, kwargs, wanted, smoothing)
        for name in ("labels", "logits_to_keep"):
            kwargs.pop(name, None)
        hidden = self.base_model(*args, **{**kwargs, "use_cache": False}).last_hidden_state.flatten(0, 1)
        if kernel == "cce" and is_plain_matrix(self.get_output_embeddings()) and len(wanted.picks) == len(wanted.kept):
            return _cut(self.get_output_embeddings(), config, hidden[wanted.kept], wanted)
        head = functools.partial(_score, self.get_output_embeddings(), config, smoothing)
        total, hits = hidden.new_zeros((), dtype=torch.float32), 0
        parts = list(wanted.chunks(places))
        for part in parts:
            if len(parts) > 1 and torch.is_grad_enabled():
                loss, hit = checkpoint(head, hidden[part.kept], part.picks, part.targets, part.weights,
                                       use_reentrant=reentrant)  # fmt: skip
            else:
                loss, hit = head(hidden[part.kept], part.picks, part.targets, part.weights)
            total, hits = total + loss, hits + hit
        return {"loss": total, "hits": hits}

    model.forward = MethodType(forward, model)


def has_plain_head(config: Any) -> bool:
    """Whether logits are the head's output, at most soft-capped."""
    return all(getattr(config, name, None) in (None, 1.0, 1) for name in _SCALES)


def _score(
    head: Any, config: Any, smoothing: float, hidden: torch.Tensor, picks: torch.Tensor, targets: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    logits = head(hidden).float()
    cap = getattr(config, "final_logit_softcapping", None)
    return summed_loss(logits if cap is None else cap * torch.tanh(logits / cap), picks, targets, weights, smoothing)


def summed_loss(
    logits: torch.Tensor, picks: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss summed over supervised tokens, and how many of them were the likeliest."""
    if len(picks) == len(logits):  # the usual case: one target for each place
        losses = cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    else:
        total = logits.logsumexp(-1)
        losses = total[picks] - logits[picks, targets]
        if smoothing:
            losses = (1 - smoothing) * losses + smoothing * (total - logits.mean(-1))[picks]
    hits = (weights * (logits.detach().argmax(-1)[picks] == targets)).sum()
    return (losses * weights).sum(), hits


def is_plain_matrix(head: Any) -> bool:
    """No adapter, no copy, no bias, no quantised weight."""
    return type(head) is torch.nn.Linear and head.bias is None


def _cut(head: Any, config: Any, hidden: torch.Tensor, wanted: Supervision) -> dict[str, Any]:
    """Cut Cross Entropy: head and loss in one kernel that never writes logits; it does not say which token was likeliest."""
    from cut_cross_entropy import linear_cross_entropy

    cap = getattr(config, "final_logit_softcapping", None)
    # filter_eps=None: no gradient is left out for being small
    losses = linear_cross_entropy(hidden, head.weight, wanted.targets, softcap=cap, reduction="none", filter_eps=None)
    return {"loss": (losses.float() * wanted.weights).sum(), "hits": None}


def _by_own_forward(forward: Any, args: Any, kwargs: dict[str, Any], wanted: Supervision, smoothing: float) -> Any:
    """For models that do more than project: their own logits, at the columns that carry loss in any row."""
    width = kwargs["input_ids"].shape[1]
    columns, back = torch.unique(wanted.kept % width, return_inverse=True)
    columns = columns if len(columns) else torch.zeros(1, dtype=torch.long, device=columns.device)
    outputs = forward(*args, **{**kwargs, "labels": None, "logits_to_keep": columns})
    logits = outputs.logits[wanted.kept // width, back].float()
    loss, hits = summed_loss(logits, wanted.picks, wanted.targets, wanted.weights, smoothing)
    return {"loss": loss + 0.0 * outputs.logits.sum(), "hits": hits, "aux_loss": getattr(outputs, "aux_loss", None)}
