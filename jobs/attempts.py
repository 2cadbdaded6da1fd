"""The files of one submission, jobs/attempt-NNN: its spec, and for each element log, stop file, processes and ending."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import append_line, write_json
from sftlib.artifacts.processes import Process
from sftlib.paths import RunPaths, file_name

_ALIVE_S = 120.0  # a supervisor gives a sign of life every 30 s
WALLTIME = "walltime"  # in an ending: why it was asked to stop
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

    def open_use(self, element: str, use: dict[str, Any]) -> None:
        """A start begins. One before it that never noted its end was killed: it counts until its last sign of life."""
        if before := _read(self._file(element, "start.json")):
            self.close_use(element, {**before, "seconds": self._silent_since(element) - before["started"]})
        write_json(self._file(element, "start.json"), use)

    def close_use(self, element: str, use: dict[str, Any]) -> None:
        """It ended: {"started", "seconds", "exit_code", "host", "gpus"}."""
        append_line(self._file(element, "use.jsonl"), json.dumps(use))
        self._file(element, "start.json").unlink(missing_ok=True)

    def all_use(self) -> dict[str, list[dict[str, Any]]]:
        """Every start of every element, with its seconds."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in self.root.glob("*.use.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                use = json.loads(line)
                found.setdefault(use["element"], []).append(use)
        for path in self.root.glob("*.start.json"):
            if use := _read(path):
                seconds = seconds_open(use, self._silent_since(use["element"]))
                found.setdefault(use["element"], []).append({**use, "seconds": seconds})
        return found

    def _silent_since(self, element: str) -> float:
        try:
            return self.processes(element).stat().st_mtime
        except OSError:
            return 0.0

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


def seconds_open(start: Mapping[str, float], last_sign: float) -> float:
    """How long a start has taken that nobody noted the end of: until now, or until its last sign of life."""
    until = time.time() if time.time() - last_sign < _ALIVE_S else last_sign
    return max(0.0, until - start["started"])


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
