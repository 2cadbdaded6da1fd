"""Several processes share the shards of one element: each loads the model once and takes the next free shard.

A worker is the same command again; ranks that `torchrun` or `accelerate launch` start are workers as they are.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftlib.artifacts.host import DEVICE_VARIABLE, chosen_devices
from sftlib.artifacts.processes import die_with_parent
from sftlib.artifacts.progress import Progress, ProgressFile, say
from sftlib.artifacts.ranks import world_size

WORKER_VARIABLE = "SFTLIB_WORKER"  # this process is worker K; its parent's pid and the pipe for what it has done


def is_worker() -> bool:
    """Whether somebody else has started several of us: our own parent, torchrun, or accelerate."""
    return WORKER_VARIABLE in os.environ or world_size() > 1


def worker_count(wanted: int | None, shards: int) -> int:
    """One a device unless the experiment says otherwise, and never more than there are shards."""
    return max(1, min(wanted or len(visible_devices()), shards))


def visible_devices() -> list[str]:
    """The devices of this job, looked at without torch: the parent of workers needs no other part of it."""
    chosen = chosen_devices()
    if chosen is not None:
        return chosen
    return [
        match[1] for path in sorted(Path("/dev").glob("nvidia*")) if (match := re.fullmatch(r"nvidia(\d+)", path.name))
    ]


def run_workers(argv: Sequence[str], count: int, progress: ProgressFile) -> list[int]:
    """Run `python -m sftlib ARGV` in `count` processes to their ends; their exit codes, negative for a signal."""
    reading, writing = os.pipe()
    started = [_start(argv, number, writing) for number in range(count)]
    os.close(writing)
    with os.fdopen(reading, encoding="ascii") as lines:  # ends when the last worker has
        for line in lines:
            name, _, amount = line.partition(" ")
            progress.update(**{name: getattr(progress.progress, name) + int(amount)})
    codes = [worker.wait() for worker in started]
    for number, code in enumerate(codes):
        if code:
            say(f"worker {number} ended with {_named(code)}")
    return codes


def _start(argv: Sequence[str], number: int, pipe: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, WORKER_VARIABLE: f"{number} {os.getpid()} {pipe}"}
    devices = visible_devices()
    if devices:
        environment[DEVICE_VARIABLE] = devices[number % len(devices)]
    return subprocess.Popen([sys.executable, "-m", "sftlib", *argv], env=environment, pass_fds=[pipe])


def _named(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class WorkerProgress(ProgressFile):
    """What a worker has done goes to its parent, who shows it; elsewhere nowhere."""

    def __init__(self, cell: str | None) -> None:
        self._pipe: int | None = None
        if WORKER_VARIABLE in os.environ:
            _, parent, pipe = map(int, os.environ[WORKER_VARIABLE].split())
            self._pipe = pipe
            _end_with(parent)
        super().__init__(None, Progress("predict", "predict", cell, unit="records"))

    def update(self, *, force: bool = False, **changes: Any) -> None:
        before = self.progress.done
        super().update(force=force, **changes)
        if self._pipe is not None and self.progress.done > before:
            os.write(self._pipe, f"done {self.progress.done - before}\n".encode())


def _end_with(parent: int) -> None:
    """End at once when the parent does: nobody would hear of what is done, or stop it."""
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(1)
