"""Arithmetic of a training and the time that it takes: floating-point operations a token, device hours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sftlib.artifacts.host import has_cpu_bfloat16
from sftlib.config import throughput
from sftlib.config.estimate.devices import QUANTISED_SHARE, TYPICAL_SHARE, Device
from sftlib.config.estimate.memory import numbers_of, trainable_parameters
from sftlib.config.estimate.shape import ModelShape
from sftlib.config.tree import SFTConfig


@dataclass(frozen=True)
class Work:
    """What is computed on all devices: tokens of the training, the positions with logits among them, a record's mean
    length, and the passes forward and backward that this takes."""

    tokens: float
    positions: float
    mean_length: float
    passes: float = 0.0


def flops(config: SFTConfig, shape: ModelShape, work: Work) -> float:
    """Operations of a training, counted as 2 a weight and token: forward, the gradients of activations, and those of
    what is trained. Attention's products have no weights: what they need backward is twice what they need forward.
    Recomputation is not counted as work done, so that checkpointing lowers the share of the peak."""
    matrices = shape.layers * shape.active_layer_size
    head = shape.vocab * shape.hidden
    passes = 2 if config.lora.enabled else 3
    base = 2 * passes * (work.tokens * matrices + work.positions * head) + _attention(shape, work)
    if not config.lora.enabled:
        return base
    return base + 6 * work.tokens * trainable_parameters(config, shape)


def _attention(shape: ModelShape, work: Work) -> float:
    forward = 2 * shape.layers * shape.query * work.mean_length  # a token: 2 products, causal: half of them
    return 3 * work.tokens * forward


# The two products of an adapted matrix are so thin that they wait for memory: they take as long as this many ranks more
# would, and a rank as long as so many at the base's rate (whole steps on a CPU, ranks from 1 to 128).
THIN_RANKS = 35
RANK_WEIGHT = 1.25
# A pass also does what does not grow with its tokens, in thousands of small calls: it takes as long as this many tokens
# more (whole steps on a CPU, 140 to 690 tokens).
PASS_TOKENS = 30
# On a CPU attention is made of small products and of exponentials: in float32, where the layers' large products run four
# times as fast, that shows; in bfloat16 attention takes as long for short records as for long ones (36 to 460 tokens).
CPU_FLOAT32_ATTENTION = 4
_FLOAT32 = 4  # bytes
_COUNT = 3  # of `effort`: what an earlier count called a rate is none of this one


def effort(config: SFTConfig, shape: ModelShape, work: Work, *, on_gpu: bool) -> float:
    """`flops` as they take time: what trainings of one kind need is in proportion to it."""
    work = replace(work, tokens=work.tokens + PASS_TOKENS * work.passes)
    count = flops(config, shape, work)
    if not on_gpu and numbers_of(config, on_gpu=False, has_bfloat16=has_cpu_bfloat16()).activation == _FLOAT32:
        count += (CPU_FLOAT32_ATTENTION - 1) * _attention(shape, work)
    if not config.lora.enabled:
        return count
    thin = RANK_WEIGHT * shape.adapter_size(config.lora.target_modules, THIN_RANKS)
    return count + 6 * work.tokens * (thin + (RANK_WEIGHT - 1) * trainable_parameters(config, shape))


def kind_of(config: SFTConfig) -> dict[str, Any]:
    """What must be equal for two trainings to reach the same rate on a device, roughly."""
    return {
        "quantization": config.model.quantization.kind, "compute_dtype": config.model.quantization.compute_dtype,
        "attention": config.model.attention, "backend": config.train.backend, "lora": config.lora.enabled,
        "dora": config.lora.dora, "activation_offload": config.train.activation_offload, "strategy": config.parallel.strategy,
        "checkpointing": config.train.gradient_checkpointing, "threads": config.train.threads,
        "cpu_products": config.model.cpu_products, "dtype": config.model.dtype, "precision": config.train.precision,
        "kernels": config.train.kernels, "compile": config.train.compile, "count": _COUNT,
    }  # fmt: skip


def expected_rate(config: SFTConfig, device: Device) -> float:
    """Operations a second that LoRA training reaches on a device, before anything was measured there."""
    share = TYPICAL_SHARE * (QUANTISED_SHARE if config.model.quantization.kind != "none" else 1)
    return device.peak_flops * share * (0.75 if config.train.gradient_checkpointing else 1)


def share_of_linear(config: SFTConfig, shape: ModelShape, seconds_a_token: float, mean_length: float) -> float:
    """What communication leaves of the devices' speeds added up; what is sharded is sharded over all devices."""
    train, parallel = config.train, config.parallel
    if parallel.world_size == 1 or seconds_a_token <= 0:
        return 1.0
    rows = (1 if train.tokens_per_batch else train.batch_size) * train.gradient_accumulation
    length = train.tokens_per_batch or (train.max_length if train.packing else mean_length)
    return throughput.share_of_linear(
        parameters=shape.parameters, adapter=trainable_parameters(config, shape), weight_bytes=2.0 * shape.parameters,
        nodes=parallel.nodes, devices_per_node=parallel.gpus_per_node, tokens_per_device=rows * length,
        device_tokens_per_s=1 / seconds_a_token, shard="all" if parallel.strategy in ("fsdp", "zero3") else "none",
    )  # fmt: skip
