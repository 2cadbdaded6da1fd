"""Kernels in place of the libraries' own, where they can be had: what was taken and why goes in the summary.

Liger's layer kernels are compared with the model's own on a few tokens before they are kept. Cut Cross Entropy takes the
head and the loss only where the head is a plain matrix. Neither runs on a CPU. Our own adds adapters (sftlib/models/low_rank.py).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from sftlib.config.estimate.memory import peft_adds
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.low_rank import speed_up_adapters
from sftlib.models.tree_support import is_elsewhere, last_hidden_states, probes

_DIFFERENCE = {torch.float32: 1e-3}  # of the largest hidden value; for 16-bit types _COARSE
_COARSE = 0.05


def apply_layer_kernels(config: SFTConfig, model: Any) -> str:
    """Liger's RMSNorm, RoPE and SwiGLU in place of the model's; returns what was done, with the reason."""
    refusal = _unavailable(config, "liger_kernel")
    if refusal:
        return f"torch: {refusal}"
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN, _apply_liger_kernel_to_instance

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return f"torch: liger_kernel knows no {model.config.model_type}"
    if is_elsewhere(model):
        return "torch: weights that are not here in full cannot be compared"
    ids = torch.tensor([probes(model)[0]["input_ids"]])
    before = last_hidden_states(model, input_ids=ids)
    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    after = last_hidden_states(model, input_ids=ids)
    difference = float((after - before).abs().max() / before.abs().max())
    limit = _DIFFERENCE.get(next(model.parameters()).dtype, _COARSE)
    if difference > limit:
        raise InputError(
            f"train.kernels: Liger's kernels change this model's hidden states by {difference:.2g} of the largest, expected "
            f"at most {limit:g}: set train.kernels to torch"
        )
    return f"liger: hidden states differ by {difference:.1g} of the largest"


def apply_adapter_kernel(config: SFTConfig, model: Any) -> str:
    """Our way to add an adapter's part in place of PEFT's; returns what was done, with the reason."""
    if not config.lora.enabled:
        return "none: all weights are trained"
    reason = peft_adds(config)
    if reason:
        return f"peft: {reason}"
    return f"thin: {speed_up_adapters(model)} layers"


def choose_loss_kernel(config: SFTConfig) -> str:
    """`cce` where Cut Cross Entropy can run and nothing asks for what it lacks; else `torch`, in chunks."""
    if config.train.label_smoothing or config.parallel.strategy in ("fsdp", "zero3"):
        return "torch"
    return "torch" if _unavailable(config, "cut_cross_entropy") else "cce"


def _unavailable(config: SFTConfig, package: str) -> str | None:
    if config.train.kernels == "torch":
        return "train.kernels is torch"
    if not torch.cuda.is_available():
        return "no CUDA or ROCm device"
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return None


def choose_optimizer(config: SFTConfig) -> str:
    """`auto` is fused AdamW on a GPU: one launch for all adapter matrices in place of hundreds."""
    if config.train.optimizer != "auto":
        return config.train.optimizer
    return "adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch"


def compile_layers(model: Any, *, backend: str = "inductor") -> int:
    """Compile each decoder layer by itself: layers are alike, so that one compilation serves all. Returns how many."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in names]
    for layer in layers:
        layer.compile(backend=backend, dynamic=True)
    return len(layers)
