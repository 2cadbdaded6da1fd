"""What this machine lets a process have: the kernel's word on processor and cores, and the devices that were chosen for it."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

DEVICE_VARIABLE = "CUDA_VISIBLE_DEVICES"  # ROCm's PyTorch reads it too


def chosen_devices() -> list[str] | None:
    """The devices that a scheduler or a person chose for this process; None where nobody did."""
    chosen = os.environ.get(DEVICE_VARIABLE)
    if chosen is None:
        return None
    return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]


def cores() -> int:
    """Cores that this process may use: affinity and the container's quota, not what the host has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def cpu_model() -> str | None:
    """The processor's name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or None


def cpu_vendor() -> str | None:
    """`AuthenticAMD`, `GenuineIntel`, ..."""
    found = re.search(r"^vendor_id\s*:\s*(\S+)$", _cpuinfo(), re.MULTILINE)
    return found.group(1) if found else None


def has_cpu_bfloat16() -> bool:
    """Whether it multiplies matrices of bfloat16 in hardware."""
    return "avx512_bf16" in _cpuinfo() or "amx_bf16" in _cpuinfo()


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
