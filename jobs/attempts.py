"""The files of one submission, jobs/attempt-NNN: its spec, and for each element log, stop file, processes and ending."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.processes import Process
from sftlib.paths import RunPaths, file_name


@dataclass(frozen=True)
class Attempt:
    """One submission; its folder is never written again by a later one."""

    root: Path

    @property
    def number(self) -> int:
        return int(self.root.name.rpartition("-")[2])

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    def log(self, element: str) -> Path:
        return self._file(element, "log")

    def stop(self, element: str) -> Path:
        """Where this file appears, the element finishes its step, saves and ends."""
        return self._file(element, "stop")

    def processes(self, element: str) -> Path:
        return self._file(element, "processes.json")

    def ending(self, element: str) -> Path:
        return self._file(element, "ending.json")

    def submitit(self, element: str) -> Path:
        """A folder for each element: submitit names its files by pid, and pids come again."""
        return self.root / "submitit" / file_name(element)

    def _file(self, element: str, suffix: str) -> Path:
        return self.root / f"{file_name(element)}.{suffix}"

    def read_ending(self, element: str) -> dict[str, Any] | None:
        """How the element ended, or None when nothing lived to write it."""
        return _read(self.ending(element))

    def read_processes(self, element: str) -> list[Process]:
        return [Process.from_json(item) for item in _read(self.processes(element)) or []]

    def endings(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.root.glob("*.ending.json")):
            if ending := _read(path):
                yield ending

    def living(self) -> list[Process]:
        """Processes of this attempt that still run on this host."""
        found = [Process.from_json(item) for path in self.root.glob("*.processes.json") for item in _read(path) or []]
        return [process for process in found if process.is_alive]


def new_attempt(paths: RunPaths) -> Attempt:
    """The next free number, its folder made."""
    known = all_attempts(paths)
    attempt = Attempt(paths.attempt(known[-1].number + 1 if known else 1))
    attempt.root.mkdir(parents=True)
    return attempt


def all_attempts(paths: RunPaths) -> list[Attempt]:
    """Every attempt, oldest first."""
    found = [Attempt(path) for path in paths.jobs.glob("attempt-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda attempt: attempt.number)


def _read(path: Path) -> Any:
    """The JSON in `path`, or None: these files appear and go while others look."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
