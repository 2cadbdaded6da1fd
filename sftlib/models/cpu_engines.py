"""What FSDP2, DeepSpeed and 4-bit weights need to run for real on a CPU, for development and CI. Nothing where a GPU is.

Each function names the upstream behaviour that it works around (accelerate 1.15, transformers 5.23, deepspeed 0.19,
bitsandbytes 0.50). `sftlib.train.engines.check_engine` asserts that the engine asked for is the engine that runs: without
it a run stays green while plain DDP trains.
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Any

import torch


def prepare_engine(strategy: str) -> None:
    """Before the training arguments are made."""
    if torch.cuda.is_available():
        return
    if strategy == "fsdp":
        _let_fsdp_be_fsdp()
    elif strategy.startswith("zero"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        _give_deepspeed_a_backend()
        _spare_deepspeed_its_compiler()
        _let_bf16_be_asked_for()


def prepare_4bit() -> None:
    """Before a 4-bit model is loaded. On AVX512-BF16 the first forward in eval mode repacks Linear4bit's weights for good,
    and a repacked layer has no autograd: gradients are silently wrong."""
    if torch.cuda.is_available():
        return
    import bitsandbytes.nn.modules as modules

    modules.has_avx512bf16 = lambda: False


def keep_differentiable(model: Any) -> None:
    """After a 4-bit model was loaded: the same for layers that asked before."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def wants_use_cpu(strategy: str) -> bool:
    """TrainingArguments.use_cpu: transformers starts DeepSpeed only where it is not set."""
    return not torch.cuda.is_available() and not strategy.startswith("zero")


@functools.cache
def _let_fsdp_be_fsdp() -> None:
    """accelerate turns some kinds of processes into FSDP, MULTI_CPU is not among them: `fsdp=...` is ignored silently."""
    import accelerate.state as state
    from accelerate.utils import DistributedType

    original = state.AcceleratorState.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is None or self.distributed_type != DistributedType.MULTI_CPU:
            return
        self.distributed_type = DistributedType.FSDP
        if self._mixed_precision != "no":
            plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = plugin
        state.PartialState._shared_state["distributed_type"] = self.distributed_type

    state.AcceleratorState.__init__ = init


@functools.cache
def _give_deepspeed_a_backend() -> None:
    """transformers' DeepSpeed branch names no backend; accelerate then finds none and counts one process."""
    import accelerate.state as state
    from accelerate.utils import DistributedType

    original = state.PartialState._prepare_backend

    def prepare(self: Any, cpu: bool = False, sagemaker_dp: bool = False, backend: str | None = None) -> Any:
        found, kind = original(self, cpu, sagemaker_dp, backend)
        if kind == DistributedType.NO and not cpu and int(os.environ.get("LOCAL_RANK", -1)) != -1:
            return "gloo", DistributedType.MULTI_CPU
        return found, kind

    state.PartialState._prepare_backend = prepare


def _spare_deepspeed_its_compiler() -> None:
    """On a CPU DeepSpeed compiles an all-reduce of its own at first use (a minute, and a compiler); gloo's will do."""
    if find_spec("deepspeed"):
        import deepspeed.comm.torch

        deepspeed.comm.torch.build_shm_op = lambda: None


def _let_bf16_be_asked_for() -> None:
    """TrainingArguments(bf16=True, use_cpu=False) is refused without a GPU; DeepSpeed on a CPU needs use_cpu=False."""
    import transformers.training_args as training_args

    training_args.is_torch_bf16_gpu_available = lambda: True
