"""What was submitted to Slurm, written line by line as it happens: an intent before each sbatch, its job id after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobs.attempts import Attempt, all_attempts
from jobs.slurm.arrays import Array, ids_in
from sftlib.artifacts.atomic import append_line
from sftlib.paths import RunPaths

INTENDED, SUBMITTED, RELEASED, ABANDONED = "intended", "submitted", "released", "abandoned"


@dataclass
class Entry:
    """One array as the journal knows it."""

    name: str
    job_name: str
    elements: list[str]
    job: str | None = None
    is_released: bool = False
    is_abandoned: bool = False

    @property
    def job_ids(self) -> dict[str, str]:
        """Element -> id in Slurm."""
        return {} if self.job is None else ids_in(self.job, self.elements)


@dataclass
class Journal:
    """The arrays of one attempt."""

    attempt: Attempt
    entries: dict[str, Entry] = field(default_factory=dict)

    def intend(self, array: Array, job_name: str) -> None:
        """Before sbatch: from here on the array may exist."""
        self._add({"event": INTENDED, "array": array.name, "job_name": job_name, "elements": array.names})

    def submitted(self, array: Array, job: str) -> None:
        self._add({"event": SUBMITTED, "array": array.name, "job": job})

    def released(self) -> None:
        """All that is submitted may start: from here on a later driver goes on instead of taking it back."""
        names = [entry.name for entry in self.held()]
        self._add({"event": RELEASED, "arrays": names})

    def abandoned(self) -> None:
        names = [entry.name for entry in self.entries.values() if not entry.is_released]
        self._add({"event": ABANDONED, "arrays": names})

    def held(self) -> list[Entry]:
        return [e for e in self.entries.values() if e.job and not e.is_released and not e.is_abandoned]

    def unfinished(self) -> list[Entry]:
        """Intended or submitted, never released nor taken back: their driver ended in between."""
        return [e for e in self.entries.values() if not e.is_released and not e.is_abandoned]

    def job_ids(self) -> dict[str, str]:
        """Element -> id in Slurm, of what was released."""
        return {name: job for e in self.entries.values() if e.is_released for name, job in e.job_ids.items()}

    def _add(self, event: dict[str, Any]) -> None:
        append_line(self.attempt.journal, json.dumps(event))
        self.note(event)

    def note(self, event: dict[str, Any]) -> None:
        """Take in one line."""
        kind = event["event"]
        if kind == INTENDED:
            self.entries[event["array"]] = Entry(event["array"], event["job_name"], event["elements"])
        elif kind == SUBMITTED:
            self.entries[event["array"]].job = event["job"]
        else:
            for name in event["arrays"]:
                setattr(self.entries[name], f"is_{kind}", True)


def read_journal(attempt: Attempt) -> Journal:
    journal = Journal(attempt)
    if attempt.journal.exists():
        for line in attempt.journal.read_text(encoding="utf-8").splitlines():
            journal.note(json.loads(line))
    return journal


def all_journals(paths: RunPaths) -> Iterator[Journal]:
    """Of every attempt that went to Slurm, oldest first."""
    return (read_journal(attempt) for attempt in all_attempts(paths) if attempt.journal.exists())
