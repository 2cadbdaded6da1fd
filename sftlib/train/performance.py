"""How fast a training was and what it took: rates, share of the device's peak, peak memory, device hours.

The FLOP count is the one of the plan (sftlib.config.estimate.compute), so that a plan can be held against what happened.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any

import torch

from sftlib.artifacts.host import cpu_model
from sftlib.config.estimate.compute import Work, effort, flops, kind_of
from sftlib.config.estimate.devices import device_named
from sftlib.config.estimate.shape import shape_of
from sftlib.config.tree import SFTConfig
from sftlib.data.rows import Rows


@dataclass(frozen=True)
class Took:
    """Passes forward and backward on a device, the seconds in them, and how much of these was the first step's alone."""

    passes: int
    seconds: float
    warm_up: float | None  # where it can be told

    @property
    def steady(self) -> float:
        return self.seconds - (self.warm_up or 0.0)

    @property
    def warm_up_passes(self) -> float | None:
        return self.warm_up and self.warm_up * self.passes / self.steady


def performance(
    config: SFTConfig, model_config: Any, rows: Rows, trained_tokens: float, took: Took, computed: float
) -> dict[str, Any]:
    """Of the steps since the last start: what a resumed training did before is in its own attempt. `computed` is the
    share of the records' tokens that was computed: less than one behind shared beginnings, more with padding."""
    ranks, seconds = config.parallel.world_size, took.seconds
    share = rows.supervised_tokens / max(1, rows.tokens)
    figures = {
        "device": _device_name(), "kind": kind_of(config), "processes": ranks, "seconds": round(seconds, 2),
        "warm_up_s": took.warm_up and round(took.warm_up, 2),
        "warm_up_passes": took.warm_up_passes and round(took.warm_up_passes, 2),
        "tokens": round(trained_tokens),
        "computed_tokens": round(trained_tokens * computed), "tokens_per_s": _rate(trained_tokens, seconds),
        "supervised_tokens_per_s": _rate(trained_tokens * share, seconds),
        "device_hours": round(seconds * ranks / 3600, 5), "peak_memory_gb": _peak_memory_gb(),
    }  # fmt: skip
    return {**figures, **_arithmetic(config, model_config, rows, trained_tokens * computed, share / computed, took)}


def _arithmetic(
    config: SFTConfig, model_config: Any, rows: Rows, tokens: float, share: float, took: Took
) -> dict[str, Any]:
    """FLOPs by the plan's count; null for a model whose shape it does not know. Effort is for plans: without the warm-up."""
    shape = shape_of(model_config.to_dict())
    if shape is None or not tokens or took.seconds <= 0:
        return {"flops": None, "flops_per_s": None, "effort_per_s": None, "flops_per_token": None, "mfu": None}
    passes = took.passes * config.parallel.world_size
    work = Work(tokens, tokens * share, rows.tokens / max(1, len(rows)), passes)
    count, device = flops(config, shape, work), device_named(_device_name())
    rate = count / took.seconds / config.parallel.world_size
    spent = effort(config, shape, work, on_gpu=torch.cuda.is_available())
    mfu = round(rate / device.peak_flops, 4) if device and torch.cuda.is_available() else None
    return {
        "flops": count, "flops_per_s": rate, "effort_per_s": spent / took.steady / config.parallel.world_size,
        "flops_per_token": round(count / tokens), "mfu": mfu,
    }  # fmt: skip


def _rate(count: float, seconds: float) -> float | None:
    return round(count / seconds, 1) if seconds > 0 else None


def _device_name() -> str:
    """As `sft plan` names it: ours for a GPU that it knows, else the vendor's; the processor's on a CPU."""
    if not torch.cuda.is_available():
        return cpu_model() or "cpu"
    printed = torch.cuda.get_device_name()
    known = device_named(printed)
    return known.name if known else printed


def _peak_memory_gb() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)
