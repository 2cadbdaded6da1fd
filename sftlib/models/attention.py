"""Which attention implementation a model is loaded with: what was asked for, or the best that is there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from sftlib.errors import InputError

# Name -> what must be installed for it; the first that fits is taken. FlexAttention is never taken by itself: it
# compiles for each new shape, which only pays for long runs of equal shapes.
_FLASH = {"flash_attention_3": "flash_attn_interface", "flash_attention_2": "flash_attn"}


def choose_attention(asked: str, model_class: Any, dtype: torch.dtype) -> tuple[str, str]:
    """The implementation, and why."""
    if asked != "auto":
        _check(asked, model_class)
        return asked, "as asked"
    if torch.cuda.is_available() and dtype in (torch.bfloat16, torch.float16) and _has(model_class, "flash_attn"):
        for name, package in _FLASH.items():
            if find_spec(package):
                return name, f"{package} is installed"
    if _has(model_class, "sdpa"):
        return "sdpa", "PyTorch's own, fused where the device can"
    return "eager", f"{model_class.__name__} has no other"


def _check(name: str, model_class: Any) -> None:
    package = _FLASH.get(name)
    if package and not torch.cuda.is_available():
        raise InputError(f"model.attention = {name!r} needs a GPU: use auto or sdpa")
    if package and not find_spec(package):
        raise InputError(f"model.attention = {name!r} needs the package {package}, which is not installed: use auto")
    family = "flash_attn" if package else {"sdpa": "sdpa", "flex_attention": "flex_attn"}.get(name)
    if family and not _has(model_class, family):
        raise InputError(f"model.attention = {name!r}: {model_class.__name__} does not have it: use auto")


def _has(model_class: Any, family: str) -> bool:
    return bool(getattr(model_class, f"_supports_{family}", False))
