"""The one place that turns `parallel` into settings of DDP, FSDP2 and DeepSpeed, and that looks whether they took effect."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from sftlib.artifacts.ranks import is_launched
from sftlib.config.train import ParallelSection
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError, SftError
from sftlib.models.cpu_engines import prepare_engine, wants_use_cpu


class EngineError(SftError):
    """Another engine runs than the one asked for: a fault of ours or of a library, never to be trained through."""


def engine_arguments(config: SFTConfig, layers: list[str]) -> dict[str, Any]:
    """Arguments of transformers for the experiment's strategy; `layers` are the classes that are sharded one by one."""
    parallel = config.parallel
    prepare_engine(parallel.strategy)
    arguments: dict[str, Any] = {
        "use_cpu": wants_use_cpu(parallel.strategy),
        "ddp_timeout": parallel.timeout_min * 60,
        "ddp_find_unused_parameters": False,
    }
    if is_launched() and not torch.cuda.is_available():
        arguments["ddp_backend"] = "gloo"
    if parallel.strategy == "fsdp":
        arguments |= {"fsdp": True, "fsdp_config": fsdp_settings(parallel, layers)}
    elif parallel.strategy.startswith("zero"):
        _require_deepspeed(parallel.strategy)
        arguments["deepspeed"] = deepspeed_settings(parallel)
    return arguments


def fsdp_settings(parallel: ParallelSection, layers: list[str]) -> dict[str, Any]:
    """FSDP2: each layer's weights in shards, gathered for its own forward and backward."""
    if not layers:
        raise InputError("parallel.strategy = 'fsdp': the model does not say which layers to shard: use ddp or zero3")
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": layers,
        "reshard_after_forward": True,
        "cpu_offload": parallel.cpu_offload,
        # Each rank loads what it shards. With True (accelerate 1.15, weights sent by rank 0) the optimiser of the other ranks
        # took no step, and 4-bit weights cannot be sent at all.
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",  # one file, that another world size can resume from
    }


def deepspeed_settings(parallel: ParallelSection) -> dict[str, Any]:
    """ZeRO: `auto` is filled in by transformers from its own arguments, so that no number is said twice."""
    zero: dict[str, Any] = {
        "stage": int(parallel.strategy.removeprefix("zero")),
        "overlap_comm": torch.cuda.is_available(),
        "contiguous_gradients": True,
    }
    if parallel.cpu_offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "zero_allow_untested_optimizer": True,  # the optimiser is train.optimizer on every engine
        "zero_force_ds_cpu_optimizer": False,
    }


def sharded_layers(model: Any) -> list[str]:
    """The classes of the model's repeated blocks, as the model itself names them."""
    named = set(getattr(model, "_no_split_modules", None) or ())
    return sorted(named & {type(module).__name__ for module in model.modules()})


def check_engine(trainer: Any, config: SFTConfig) -> str:
    """The engine that runs, in words; raises when it is not the one asked for. Call when training has begun."""
    from accelerate.utils import DistributedType

    strategy, kind = config.parallel.strategy, trainer.accelerator.distributed_type
    wanted = {
        "single": (DistributedType.NO,),
        "ddp": (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU, DistributedType.MULTI_XPU),
        "fsdp": (DistributedType.FSDP,),
    }.get(strategy, (DistributedType.DEEPSPEED,))
    alone = config.parallel.world_size == 1 and strategy == "ddp" and kind == DistributedType.NO
    if kind not in wanted and not alone:
        raise EngineError(f"parallel.strategy = {strategy!r} was asked for, and {kind} runs")
    sharded = sum(_is_sharded(parameter) for parameter in trainer.model_wrapped.parameters())
    if strategy in ("fsdp", "zero3") and not sharded:
        raise EngineError(f"parallel.strategy = {strategy!r} was asked for, and no weight is sharded")
    if strategy.startswith("zero") and (stage := trainer.deepspeed.zero_optimization_stage()) != int(strategy[-1]):
        raise EngineError(f"parallel.strategy = {strategy!r} was asked for, and ZeRO stage {stage} runs")
    return f"{kind.value.lower()}, {sharded} sharded weights" if sharded else kind.value.lower()


def _is_sharded(parameter: Any) -> bool:
    """A DTensor (FSDP2), or a weight that ZeRO-3 cut in pieces."""
    return hasattr(parameter, "device_mesh") or hasattr(parameter, "ds_id")


def _require_deepspeed(strategy: str) -> None:
    if find_spec("deepspeed") is None:
        raise InputError(
            f"parallel.strategy = {strategy!r} needs DeepSpeed: pip install 'sftlib[deepspeed]', or use fsdp"
        )
