"""Whether activations are kept, recomputed or put aside: as the setting says, or as the memory estimate makes necessary."""

from __future__ import annotations

import os
from typing import Any

import torch

from sftlib.config.estimate.memory import USABLE, Load, numbers_of, training_memory, with_checkpointing
from sftlib.config.estimate.shape import shape_of
from sftlib.config.tree import SFTConfig
from sftlib.data.rows import Rows
from sftlib.errors import InputError
from sftlib.models.hardware import has_bfloat16

GB = 1e9


def resolve_checkpointing(
    config: SFTConfig, model_config: Any, rows: Rows, *, memory_gb: float | None = None
) -> tuple[SFTConfig, str]:
    """The configuration with train.gradient_checkpointing decided, and why."""
    if config.train.activation_offload and not torch.cuda.is_available():
        raise InputError("train.activation_offload = True: there is no GPU whose memory it would spare: drop it")
    asked = config.train.gradient_checkpointing
    if asked != "auto":
        return config, f"train.gradient_checkpointing is {str(asked).lower()}"
    there = memory_gb or _memory_gb()
    needed = _needed_gb(with_checkpointing(config, False), model_config, rows)
    if needed is None:
        return with_checkpointing(config, True), "this model's memory is not known"
    words = f"{needed:.1f} GB without it, {there:.1f} GB there"
    return with_checkpointing(config, needed > USABLE * there), words


def _needed_gb(config: SFTConfig, model_config: Any, rows: Rows) -> float | None:
    """The estimated peak of the largest batch."""
    shape = shape_of(model_config.to_dict())
    if shape is None:
        return None
    train = config.train
    longest = train.tokens_per_batch or (train.max_length if train.packing else int(rows.lengths.max()))
    tokens = longest * (1 if train.tokens_per_batch else train.batch_size)
    supervised = round(tokens * rows.supervised_tokens / max(1, rows.tokens))
    on_gpu = torch.cuda.is_available()
    numbers = numbers_of(config, on_gpu=on_gpu, has_bfloat16=has_bfloat16())
    return training_memory(config, shape, Load(tokens, supervised, longest), numbers, on_gpu=on_gpu).total


def _memory_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / GB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
