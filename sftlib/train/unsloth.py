"""`train.backend: unsloth` on one GPU: the same configuration, adapter and labels, with unsloth's model and kernels.

unsloth rewrites transformers, TRL and PEFT when it is imported, so that it must come before them: `bring_up` is called
before the trainer's module is loaded. Nothing heavy is imported here at module level.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError

# unsloth takes names only.
_ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_KEY = "train.backend = 'unsloth'"


def bring_up(config: SFTConfig) -> None:
    """Import unsloth first, or say why it cannot be had."""
    if config.train.backend != "unsloth":
        return
    if importlib.util.find_spec("unsloth") is None:
        raise InputError(
            f"{_KEY}: the package is not installed: pip install 'sftlib[unsloth]', or set train.backend to trl"
        )
    if "unsloth" not in sys.modules and (
        early := [name for name in ("trl", "transformers", "peft") if name in sys.modules]
    ):
        raise InputError(
            f"{_KEY}: {', '.join(early)} was imported before it: start `sft train` in a process of its own"
        )
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"{_KEY}: it needs a GPU and there is none here: set train.backend to trl")
    importlib.import_module("unsloth")


def load_for_unsloth(config: SFTConfig, source: str) -> Any:
    """The base with a fresh adapter, both as unsloth makes them."""
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(**model_arguments(config, source))
    return FastLanguageModel.get_peft_model(model, **adapter_arguments(config)) if config.lora.enabled else model


def model_arguments(config: SFTConfig, source: str) -> dict[str, Any]:
    """Our model section in unsloth's words."""
    kind = config.model.quantization.kind
    if kind not in ("none", "nf4", "int8"):
        raise InputError(f"{_KEY}: it loads nf4 and int8, not model.quantization.kind = {kind!r}")
    return {
        "model_name": source, "revision": config.model.revision, "max_seq_length": config.train.max_length,
        "dtype": None if config.model.dtype == "auto" else config.model.dtype, "load_in_4bit": kind == "nf4",
        "load_in_8bit": kind == "int8", "full_finetuning": not config.lora.enabled,
        "trust_remote_code": config.model.trust_remote_code,
    }  # fmt: skip


def adapter_arguments(config: SFTConfig) -> dict[str, Any]:
    """Our LoRA section in unsloth's words."""
    lora, targets = config.lora, config.lora.target_modules
    if lora.dora:
        raise InputError(f"{_KEY}: it has no DoRA: drop lora.dora")
    return {
        "r": lora.r, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "bias": lora.bias,
        "target_modules": _ALL_LINEAR if targets == "all-linear" else list(targets), "use_rslora": lora.rslora,
        "modules_to_save": lora.modules_to_save or None, "random_state": config.train.seed,
        "use_gradient_checkpointing": "unsloth" if config.train.gradient_checkpointing else False,
    }  # fmt: skip
