"""What this machine has: memory, devices, free disk; asked without importing anything large. Cores: sftlib.artifacts.host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from sftlib.artifacts.host import chosen_devices


def memory_gb() -> float | None:
    """Memory that is free to use, in GiB."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(found.group(1)) / 1024**2 if found else None


def disk_free_gb(folder: Path) -> float:
    """Free space where `folder` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1024**3


def devices() -> list[str]:
    """Indices of the devices that processes here may use; a user's own choice of visible devices is kept."""
    chosen = chosen_devices()
    if chosen is not None:
        return chosen
    return [str(index) for index, _ in enumerate(device_names())]


def device_names() -> list[str]:
    """One line a device, as the vendor's tool names it."""
    nvidia = command_output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if nvidia:
        return nvidia.splitlines()
    rocm = command_output("rocm-smi", "--showproductname", "--csv") or ""
    return [line for line in rocm.splitlines() if line.startswith("card")]


def command_output(*argv: str) -> str | None:
    """What a command prints, or None when it is not there, fails or hangs."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
