"""Out of memory, whoever says it and however: one error with the settings that would help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


class OutOfMemoryError(SftError):
    """The device or the host has not enough memory for what the experiment asks."""


@contextlib.contextmanager
def naming_out_of_memory(config: SFTConfig, doing: str) -> Iterator[None]:
    """Turn the many errors of an allocation that failed into one that names the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not _tells(error):
            raise
        first = str(error).strip().partition("\n")[0][:200]
        raise OutOfMemoryError(f"out of memory while {doing} ({first}): {remedy(config)}") from error


def _tells(error: Exception) -> bool:
    return any(sign in str(error) for sign in _SIGNS)


def remedy(config: SFTConfig) -> str:
    """What would lower the need, the cheapest first; only what is not done already."""
    train, double = config.train, config.train.gradient_accumulation * 2
    steps = []
    if train.batch_size > 1:
        steps.append(f"train.batch_size={train.batch_size // 2} with train.gradient_accumulation={double}")
    if not train.gradient_checkpointing:
        steps.append("train.gradient_checkpointing=true")
    if config.model.quantization.kind == "none" and config.lora.enabled:
        steps.append("model.quantization.kind=nf4")
    if config.parallel.strategy in ("single", "ddp", "zero1", "zero2"):
        steps.append("parallel.strategy=fsdp on several devices")
    return "try " + ", or ".join([*steps, f"train.max_length below {train.max_length}"])
