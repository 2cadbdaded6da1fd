"""What would have to be equal for a run to repeat: code, packages, machine. No environment values, no secrets."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import sftlib
from sftlib.artifacts.hashing import sha256_file, sha256_lines, sha256_text
from sftlib.artifacts.host import cpu_model


def submission_receipt(experiment: Path) -> dict[str, Any]:
    """Taken once, where the run is submitted."""
    return {
        "sftlib": sftlib.__version__,
        "code": code_version(),
        "experiment_sha256": sha256_file(experiment),
        "submit_host": machine(),
    }


def stage_receipt() -> dict[str, Any]:
    """Taken by each stage, where it runs."""
    return {"code_sha256": code_digest(), "machine": machine(), "packages": packages()}


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
