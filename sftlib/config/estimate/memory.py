"""Peak memory of one device in training, part by part, from shape and settings.

The parts are what autograd keeps, counted module by module as transformers and PEFT compute them; benchmarks/planner.py
holds them against the peak that a real step allocates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

from sftlib.config.estimate.shape import Linear, ModelShape
from sftlib.config.tree import SFTConfig

GB = 1e9
USABLE = 0.92  # of a device's memory; the rest is fragmentation and what others hold
LOGITS_BYTES = 2**28  # without train.head_tokens, at most this much of logits at once
CONTEXT_GB = 0.7  # CUDA or ROCm itself, its libraries' workspaces
_BITS = {"nf4": 4, "fp4": 4, "mxfp4": 4.25, "int8": 8}
_SHARDS_WEIGHTS, _SHARDS_GRADIENTS, _SHARDS_STATE = (
    ("fsdp", "zero3"), ("fsdp", "zero2", "zero3"), ("fsdp", "zero1", "zero2", "zero3"),
)  # fmt: skip
# Bytes of optimiser state a trainable parameter.
_STATE = {"auto": 8, "adamw_torch": 8, "adamw_torch_fused": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2, "paged_adamw_32bit": 8,
          "adafactor": 0.1, "sgd": 0}  # fmt: skip


class Load(NamedTuple):
    """What a device holds at once: rows x their longest, and for how many of the positions logits are needed."""

    tokens: int
    positions: int
    length: int  # of one row


@dataclass(frozen=True)
class Memory:
    """GB of one device."""

    weights: float
    adapter: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    workspace: float

    @property
    def total(self) -> float:
        return sum(asdict(self).values())

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in {**asdict(self), "total": self.total}.items()}


@dataclass(frozen=True)
class Numbers:
    """The widths of the numbers that a step works with, in bytes."""

    base: int  # weights that are not quantised
    activation: int
    adapter: int  # that an adapter computes with
    mask: int  # PEFT's dropout's, an element


def numbers_of(config: SFTConfig, *, on_gpu: bool, has_bfloat16: bool = True) -> Numbers:
    """As sftlib.models.hardware and sftlib.train.arguments choose them."""
    base = {"float32": 4, "auto": 2 if has_bfloat16 else 4}.get(config.model.dtype, 2)
    wanted = config.train.precision
    autocast = wanted in ("bf16", "fp16") or (wanted == "auto" and on_gpu)
    activation = 2 if autocast or base == 2 else 4
    return Numbers(base, activation, 2 if autocast else 4, 1 if on_gpu else 4)


def training_memory(config: SFTConfig, shape: ModelShape, load: Load, numbers: Numbers, *, on_gpu: bool) -> Memory:
    """The peak of one device in one training step."""
    lora, strategy, ranks = config.lora, config.parallel.strategy, config.parallel.world_size
    weights = _weights_bytes(config, shape, numbers)
    adapter = trainable_parameters(config, shape)
    adapter_bytes = 4.0 * adapter if lora.enabled else 0.0
    if strategy in _SHARDS_WEIGHTS:
        gathered = (shape.layer_size + shape.other_size) * numbers.base  # a layer; embeddings and head stay
        weights, adapter_bytes = weights / ranks + gathered, adapter_bytes / ranks
    width = 4 if lora.enabled else numbers.base
    gradients = adapter * width / (ranks if strategy in _SHARDS_GRADIENTS else 1)
    state = adapter * _STATE[config.train.optimizer] / (ranks if strategy in _SHARDS_STATE else 1)
    if config.parallel.cpu_offload:
        state = 0
    return Memory(
        weights / GB, adapter_bytes / GB, gradients / GB, state / GB,
        activation_bytes(config, shape, load, numbers) / GB, _logits_bytes(config, shape, load, numbers) / GB,
        _workspace_bytes(config, shape, load, numbers) / GB + (CONTEXT_GB if on_gpu else 0),
    )  # fmt: skip


def with_checkpointing(config: SFTConfig, checkpointing: bool) -> SFTConfig:
    """The configuration with `auto` decided."""
    train = config.train.model_copy(update={"gradient_checkpointing": checkpointing})
    return config.model_copy(update={"train": train})


def trainable_parameters(config: SFTConfig, shape: ModelShape) -> int:
    """Parameters that the optimiser changes."""
    if not config.lora.enabled:
        return shape.parameters
    whole = sum(
        shape.vocab * shape.hidden for name in config.lora.modules_to_save if name in ("lm_head", "embed_tokens")
    )
    return shape.adapter_size(config.lora.target_modules, config.lora.r) + whole


def _weights_bytes(config: SFTConfig, shape: ModelShape, numbers: Numbers) -> float:
    quantization = config.model.quantization
    matrices = shape.layers * shape.layer_size
    if quantization.kind == "none":
        return (matrices + shape.other_size) * numbers.base
    # A scale for each block of 64 weights: 4 bytes, or with double quantisation 1 byte and 4 for each 256 of those.
    scales = (1 / 64 + 4 / (64 * 256) if quantization.double else 4 / 64) if _BITS[quantization.kind] == 4 else 0
    return matrices * (_BITS[quantization.kind] / 8 + scales) + shape.other_size * numbers.base


def activation_bytes(config: SFTConfig, shape: ModelShape, load: Load, numbers: Numbers) -> float:
    """What the forward pass keeps for the backward pass."""
    layer = layer_bytes(config, shape, load, numbers)
    ends = 2 * 4 * shape.hidden  # the last norm and its input
    if config.train.gradient_checkpointing:
        return load.tokens * (shape.layers * numbers.activation * shape.hidden + layer + ends)
    return load.tokens * (shape.layers * layer + ends)


def layer_bytes(config: SFTConfig, shape: ModelShape, load: Load, numbers: Numbers) -> float:
    """Bytes a token that one layer keeps."""
    x, h, q, kv = numbers.activation, shape.hidden, shape.query, shape.key_value
    norms = shape.norms * (4 * h + 4) + (4 * (q + kv) if shape.norms_heads else 0)  # computed in fp32
    attention = 2 * x * (q + kv) + 4 * shape.heads  # q, k, v, the output, the log-sum-exp
    if _writes_scores(config, shape):
        attention += x * (shape.heads * load.length + 2 * (q - kv))
    return norms + attention + _mlp_bytes(shape, x) + _adapter_bytes(config, shape, numbers)


def _mlp_bytes(shape: ModelShape, x: int) -> float:
    if not shape.experts:
        return 3 * x * shape.inner  # the gate, its activation, the other half
    return shape.experts_per_token * x * (shape.expert_widths * shape.inner + 2 * shape.hidden)


def _writes_scores(config: SFTConfig, shape: ModelShape) -> bool:
    return config.model.attention == "eager" or (shape.has_sinks and config.model.attention == "auto")


def _adapter_bytes(config: SFTConfig, shape: ModelShape, numbers: Numbers) -> float:
    """Inputs that weight gradients need, the adapters' inner values, dropout's masks."""
    if not config.lora.enabled:
        return sum({(linear.name.split(".")[0], linear.inputs): linear.inputs for linear in shape.linears}.values()) * numbers.activation  # fmt: skip
    targets = shape.targets(config.lora.target_modules)
    inner = numbers.adapter * config.lora.r * len(targets)
    inputs = sum(linear.inputs for linear in targets)
    # q, k and v share their input, gate and up theirs; down's is the product of the MLP.
    shared = numbers.activation * sum({_reader(linear): linear.inputs for linear in targets}.values())
    copies = numbers.adapter * inputs
    if peft_adds(config):
        kept = copies if numbers.activation == 2 or config.lora.dropout else shared
        return kept + inner + (numbers.mask * inputs if config.lora.dropout else 0)
    kept = copies if numbers.base > numbers.adapter else shared  # of an input that is wider than its copy, the copy
    return kept + inner + (inputs if config.lora.dropout else 0)


def peft_adds(config: SFTConfig) -> str | None:
    """Why adapters are added by PEFT and not by sftlib.models.low_rank, which keeps less."""
    train = config.train
    reasons = {
        "train.kernels is torch": train.kernels == "torch",
        "unsloth has its own way": train.backend == "unsloth",
        "compiled layers have their own way": train.compile,
        "train.activation_offload moves copies and not what layers share": train.activation_offload,
        "lora.dora": config.lora.dora,
        "ZeRO-3 gathers an adapter's weights for its module": config.parallel.strategy == "zero3",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _reader(linear: Linear) -> str:
    leaf = linear.name.rpartition(".")[2]
    if leaf in ("o_proj", "down_proj"):
        return leaf
    return linear.name.partition(".")[0]


def _logits_bytes(config: SFTConfig, shape: ModelShape, load: Load, numbers: Numbers) -> float:
    """The logits, their fp32 copy's log-softmax, and the gradients of both, for as many places as the head takes at once."""
    places = config.train.head_tokens or max(1, LOGITS_BYTES // (4 * shape.vocab))
    at_once = load.positions if config.parallel.strategy == "zero3" else min(load.positions, places)
    return at_once * shape.vocab * (2 * numbers.activation + 8)


def _workspace_bytes(config: SFTConfig, shape: ModelShape, load: Load, numbers: Numbers) -> float:
    """What one module needs while it runs backwards, and a dequantised matrix where weights are quantised."""
    widest = shape.inner * (shape.experts_per_token or 1)
    passing = load.tokens * numbers.activation * (2 * widest + 3 * shape.hidden)
    if _writes_scores(config, shape):
        passing += load.tokens * shape.heads * load.length * numbers.activation
    largest = max(linear.size for linear in shape.linears)
    return passing + (largest * 2 if config.model.quantization.kind != "none" else 0)
