"""Batches and optimiser steps: one arithmetic for the plan on a login node and for the trainer."""

from __future__ import annotations

import math

from sftlib.config.tree import SFTConfig


def effective_batch(config: SFTConfig) -> int:
    """Records of one optimiser step."""
    return config.train.batch_size * config.train.gradient_accumulation * config.parallel.world_size


def steps_per_epoch(config: SFTConfig, records: int) -> int:
    """As transformers counts them; with packing it is the most there can be."""
    size = 1 if config.train.tokens_per_batch else config.train.batch_size
    batches = math.ceil(records / (size * config.parallel.world_size))
    return max(1, math.ceil(batches / config.train.gradient_accumulation))


def total_steps(config: SFTConfig, records: int) -> int:
    """Optimiser steps of the whole training."""
    return config.train.max_steps or math.ceil(config.train.epochs * steps_per_epoch(config, records))


def steps_in_words(config: SFTConfig, records: int) -> str:
    """`42 steps of 64 records (4 a device x 4 accumulated x 4 processes), warm-up 2`."""
    train, steps = config.train, total_steps(config, records)
    parts = f"{train.batch_size} a device x {train.gradient_accumulation} accumulated x {config.parallel.world_size} processes"
    return f"{steps} steps of {effective_batch(config)} records ({parts}), warm-up {warmup_steps(config, records)}"


def warmup_steps(config: SFTConfig, records: int) -> int:
    """Steps in which the learning rate rises."""
    return math.ceil(config.train.warmup_ratio * total_steps(config, records))
