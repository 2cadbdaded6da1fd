"""What is wrong with a run's predictions, each thing as one line with the command that mends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MISSING, CORRUPT, FOREIGN, DUPLICATE, UNTRAINED = "missing", "corrupt", "foreign", "duplicate", "untrained"
MISMATCH, TEMPORARY, NOTE = "mismatch", "temporary", "note"
# What only asks to be known; everything else makes a report incomplete.
HARMLESS = frozenset({TEMPORARY, NOTE})


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    cell: str | None
    what: str  # `shard 3 of 8`, a file's name, `training`
    reason: str = ""
    mend: str = ""

    @property
    def is_fault(self) -> bool:
        return self.kind not in HARMLESS

    def __str__(self) -> str:
        place = f"{self.cell}: {self.what}" if self.cell else self.what
        why = f" ({self.reason})" if self.reason else ""
        return f"{place}{_WORDS.get(self.kind, f' is {self.kind}')}{why}"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "cell": self.cell, "what": self.what, "reason": self.reason, "mend": self.mend,
            "is_fault": self.is_fault, "sentence": str(self),
        }  # fmt: skip


_WORDS = {
    UNTRAINED: " is not finished",
    TEMPORARY: " was left behind by an attempt that was killed",
    MISMATCH: " do not fit",
    NOTE: "",
}


def rerun_command(root: Path) -> str:
    """The command that predicts, trains and merges again what is missing."""
    return f"sft rerun {shlex.quote(str(root))}"


def merge_command(root: Path) -> str:
    return f"sft merge {shlex.quote(str(root))}"
