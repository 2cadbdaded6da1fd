"""What codes mean: names come in as they are met, small integers go out, batch after batch the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sftlib.metrics.formulas import Array

CROSS = " × "  # between the two columns of an intersection, and between their values
NONE = "(none)"  # stands for a record without a group, a source or an original label


class Vocabulary:
    """Names and their codes, in the order in which they were met."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]

    def find(self, name: str, otherwise: int) -> int:
        return self._codes.get(name, otherwise)


@dataclass(frozen=True)
class Membership:
    """The groups of a batch in one column: row `rows[i]` belongs to group `values[i]`."""

    rows: Array
    values: Array

    def is_plain(self, num_rows: int) -> bool:
        """Each record has one group, so that `rows` only counts up: one without a group has NONE, none is left out."""
        return len(self.rows) == num_rows


@dataclass(frozen=True)
class Codes:
    """One batch. Labels are coded in the order of task.labels; an outcome of len(labels) is unparsed."""

    gold: Array  # len(labels): no label that we know
    outcome: Array
    reason: Array
    source: Array
    original: Array
    score: Array  # NaN where there is none
    groups: dict[str, Membership]
    tokens: tuple[int, int]  # prompt, new

    def __len__(self) -> int:
        return len(self.gold)


@dataclass
class Vocabularies:
    """What the codes of all batches mean. `groups` may be shared, so that cells code their groups alike."""

    labels: Vocabulary
    columns: tuple[str, ...]  # group columns as the data has them
    crossings: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> the two columns that it crosses
    sources: Vocabulary = field(default_factory=Vocabulary)
    originals: Vocabulary = field(default_factory=Vocabulary)
    reasons: Vocabulary = field(default_factory=Vocabulary)
    groups: dict[str, Vocabulary] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)  # prediction that is no label -> records

    def __post_init__(self) -> None:
        for column in self.all_columns:
            self.groups.setdefault(column, Vocabulary())

    @property
    def all_columns(self) -> tuple[str, ...]:
        return (*self.columns, *self.crossings)
