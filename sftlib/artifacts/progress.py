"""How far an element is, for people and `sft status`: one small JSON file an element, replaced every two seconds."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import replacing
from sftlib.artifacts.ranks import is_main, rank
from sftlib.errors import ATTEMPT_VARIABLE, ELEMENT_VARIABLE
from sftlib.paths import RunPaths

EVERY_S = 2.0


@dataclass
class Progress:
    """The state of one element, as `sft status` shows it."""

    element: str
    kind: str
    cell: str | None
    state: str = "starting"  # starting, running, done, failed, stopped
    done: int = 0
    total: int = 0
    unit: str = "steps"
    loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    pid: int = 0
    host: str = ""
    time: float = 0.0
    attempt: int = 0


class ProgressFile:
    """Writes an element's progress; does nothing where `path` is None (a stage run by hand, or another rank)."""

    def __init__(self, path: Path | None, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self._started, self._written = time.time(), 0.0
        progress.pid, progress.host = os.getpid(), socket.gethostname()
        progress.attempt = int(os.environ.get(ATTEMPT_VARIABLE, "1"))
        self.update(force=True)

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The end of the element: done, failed, or stopped as it said itself."""
        if kind is None:
            self.update(state="done")
        elif self.progress.state != "stopped":
            self.update(state="failed")

    def update(self, *, force: bool = False, **changes: Any) -> None:
        """Change fields; write when two seconds have passed or the state changed."""
        force = force or changes.get("state", self.progress.state) != self.progress.state
        for name, value in changes.items():
            setattr(self.progress, name, value)
        now = time.time()
        if self.path is None or (not force and now - self._written < EVERY_S):
            return
        self._written = self.progress.time = now
        if (self.progress.done and self.progress.eta_s is None) or "done" in changes:
            self.progress.eta_s = self._eta(now)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(asdict(self.progress)), encoding="utf-8")

    def _eta(self, now: float) -> float | None:
        if not self.progress.done:
            return None
        return round((now - self._started) / self.progress.done * max(0, self.progress.total - self.progress.done), 1)


def open_progress(run: RunPaths, kind: str, cell: str | None, total: int, unit: str) -> ProgressFile:
    """The progress file of this process's element; silent when no supervisor named one, and on other ranks."""
    element = os.environ.get(ELEMENT_VARIABLE) if is_main() else None
    path = run.element_progress(element) if element else None
    return ProgressFile(path, Progress(element or kind, kind, cell, total=total, unit=unit))


def clock(seconds: float) -> str:
    """`0:07`, `12:05`, `3:04:10`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def say(text: str, *, every_rank: bool = False) -> None:
    """A plain line for the log or the terminal; of several ranks the first one speaks, unless each has its own to say."""
    if is_main():
        print(text, file=sys.stderr, flush=True)
    elif every_rank:
        print(f"rank {rank()}: {text}", file=sys.stderr, flush=True)
