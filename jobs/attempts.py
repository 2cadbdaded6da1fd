"""The files of one submission, jobs/attempt-NNN: its spec, and for each element log, stop file, processes and ending."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.processes import Process
from sftlib.artifacts.atomic import append_line
from sftlib.paths import RunPaths, file_name

_OTHER_NODE = re.compile(r"\.node\d+\.ending\.json$")


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

    @property
    def journal(self) -> Path:
        """What was submitted to Slurm, line by line (jobs/slurm/journal.py); not there for the local scheduler."""
        return self.root / "submission.jsonl"

    @property
    def cancelled(self) -> Path:
        """Where this file stands, no element asks for another start."""
        return self.root / "cancelled"

    def log(self, element: str, node_rank: int = 0) -> Path:
        return self._file(element, "log", node_rank)

    def stop(self, element: str) -> Path:
        """Where this file appears, the element finishes its step, saves and ends."""
        return self._file(element, "stop")

    def processes(self, element: str, node_rank: int = 0) -> Path:
        """Who runs it; touched now and then for as long as it does."""
        return self._file(element, "processes.json", node_rank)

    def ending(self, element: str, node_rank: int = 0) -> Path:
        return self._file(element, "ending.json", node_rank)

    def bad_nodes(self, element: str) -> Path:
        return self._file(element, "bad-nodes.json")

    def read_bad_nodes(self, element: str) -> list[str]:
        """Nodes that were found unhealthy when this element started there."""
        return list(_read(self.bad_nodes(element)) or [])

    def note_use(self, element: str, use: dict[str, Any]) -> None:
        """Add one start to what the element took."""
        append_line(self._file(element, "use.jsonl"), json.dumps(use))

    def read_use(self, element: str) -> list[dict[str, Any]]:
        """Every start that came to an end by itself: {"started", "seconds", "exit_code", "host", "gpus"}."""
        try:
            lines = self._file(element, "use.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [json.loads(line) for line in lines]

    def submitit(self, element: str) -> Path:
        """A folder for each element: submitit names its files by pid, and pids come again."""
        return self.root / "submitit" / file_name(element)

    def array(self, name: str) -> Path:
        """submitit's folder for one Slurm array."""
        return self.root / "submitit" / name

    def _file(self, element: str, suffix: str, node_rank: int = 0) -> Path:
        node = f".node{node_rank}" if node_rank else ""
        return self.root / f"{file_name(element)}{node}.{suffix}"

    def read_ending(self, element: str, node_rank: int = 0) -> dict[str, Any] | None:
        """How the element ended, or None when nothing lived to write it."""
        return _read(self.ending(element, node_rank))

    def read_processes(self, element: str) -> list[Process]:
        return [Process.from_json(item) for item in _read(self.processes(element)) or []]

    def endings(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.root.glob("*.ending.json")):
            if not _OTHER_NODE.search(path.name) and (ending := _read(path)):
                yield ending

    def living(self) -> list[Process]:
        """Processes of this attempt that still run on this host."""
        found = [Process.from_json(item) for path in self.root.glob("*.processes.json") for item in _read(path) or []]
        return [process for process in found if process.is_alive]


def next_attempt(paths: RunPaths) -> Attempt:
    """The next free number; nothing is made."""
    known = all_attempts(paths)
    return Attempt(paths.attempt(known[-1].number + 1 if known else 1))


def new_attempt(paths: RunPaths) -> Attempt:
    """The next free number, its folder made."""
    attempt = next_attempt(paths)
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
