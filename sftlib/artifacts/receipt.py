"""What would have to be equal for a run to repeat: code, packages, machine. No environment values, no secrets."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import sftlib
from sftlib.artifacts.hashing import sha256_file, sha256_lines, sha256_text
from sftlib.artifacts.host import cpu_model
from sftlib.errors import IMAGE_VARIABLE, NODES_VARIABLE


def submission_receipt(experiment: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Taken once, where the run is submitted. `settings` were typed beside the experiment file (--set)."""
    return {
        "settings": list(settings),
        "sftlib": sftlib.__version__,
        "code": code_version(),
        "experiment_sha256": sha256_file(experiment),
        "submit_host": machine(),
    }


def stage_receipt() -> dict[str, Any]:
    """Taken by each stage, where it runs."""
    return {
        "code_sha256": code_digest(),
        "image_sha256": os.environ.get(IMAGE_VARIABLE),
        "nodes": os.environ.get(NODES_VARIABLE) or platform.node(),
        "machine": {**machine(), **accelerator()},
        "packages": packages(),
    }


def accelerator() -> dict[str, Any]:
    """Devices, driver and NCCL, asked of a torch that is there already; nothing is imported for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else None
    return {"devices": names, "cuda": torch.version.cuda or torch.version.hip, "driver": _driver(), "nccl": nccl}


def _driver() -> str | None:
    """The NVIDIA kernel driver's version; ROCm's comes with the kernel that `platform` names."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return None
    return next((word for word in first.split() if word[:1].isdigit() and "." in word), None)


def code_digest() -> str:
    """The hash of the library's source as this process runs it."""
    root = Path(sftlib.__file__).parent
    return sha256_lines([f"{path.relative_to(root)}:{sha256_file(path)}" for path in sorted(root.rglob("*.py"))])


def code_version() -> dict[str, Any]:
    """The git commit and the hash of what differs from it; null outside a checkout."""
    root = Path(sftlib.__file__).resolve().parent.parent
    commit = _git(root, "rev-parse", "HEAD")
    difference = _git(root, "diff", "HEAD") if commit else None
    return {
        "sha256": code_digest(),
        "git_commit": commit,
        "git_diff_sha256": sha256_text(difference) if difference else None,
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def packages() -> dict[str, str]:
    """Every installed distribution and its version, without importing any."""
    return dict(sorted(
        (dist.metadata["Name"], dist.version) for dist in metadata.distributions() if dist.metadata["Name"]
    ))  # fmt: skip


def machine() -> dict[str, Any]:
    """Hardware and interpreter, as far as they shape results."""
    return {
        "python": platform.python_version(),
        "executable": Path(sys.executable).name,
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
