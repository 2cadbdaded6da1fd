"""What stages say about themselves while they run (jobs/progress/ELEMENT.json), read without trusting that it is there."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from sftlib.artifacts.processes import Process
from sftlib.artifacts.progress import Progress
from sftlib.paths import RunPaths

STALE_S = 60.0
_SPEAKING = ("starting", "running")


def read_progress(paths: RunPaths, element: str) -> Progress | None:
    return _read(paths.element_progress(element))


def all_progress(paths: RunPaths) -> list[Progress]:
    """Of every element that ever said something, the newest first."""
    found = [progress for path in paths.progress.glob("*.json") if (progress := _read(path))]
    return sorted(found, key=lambda progress: -progress.time)


def is_lost(progress: Progress) -> bool:
    """It says that it runs, has been silent for a minute, and its process is not there to say more."""
    if progress.state not in _SPEAKING or time.time() - progress.time < STALE_S:
        return False
    process = Process(progress.pid, "", progress.host)
    return not process.is_here or not process.is_alive


def _read(path: Path) -> Progress | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Progress(**{field.name: value[field.name] for field in fields(Progress)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
