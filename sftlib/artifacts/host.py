"""What the kernel says of this machine's processor."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path


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
