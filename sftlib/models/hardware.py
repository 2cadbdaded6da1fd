"""What this process computes on, and the number types that it does well."""

from __future__ import annotations

from functools import lru_cache

import torch

from sftlib.artifacts.host import has_cpu_bfloat16
from sftlib.artifacts.ranks import local_rank
from sftlib.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device() -> torch.device:
    """The device of this rank."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank())
    return torch.device("cpu")


@lru_cache
def has_bfloat16() -> bool:
    """Whether bfloat16 matrix products run in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_cpu_bfloat16()


def dtype_of(name: str) -> torch.dtype:
    """The torch type of a name; `auto` is bfloat16 where the hardware has it."""
    if name == "auto":
        return torch.bfloat16 if has_bfloat16() else torch.float32
    if name == "float16" and not torch.cuda.is_available():
        raise InputError("float16 on a CPU is slow and overflows: use float32, or bfloat16 where the CPU has it")
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
