"""A record as the audit compares it: its text without the prompt's frame, normalised, its class and its groups."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sftlib.config.data import TaskSection
from sftlib.data.audit.findings import MOST_PLACES, OTHER
from sftlib.data.samples import Sample

# Every punctuation mark becomes a space; symbols stay, since an emoji can turn a meaning round.
# The planes above hold no punctuation.
_PUNCTUATION = {code: " " for code in range(0x20000) if unicodedata.category(chr(code)).startswith("P")}


@dataclass(frozen=True)
class Entry:
    """One record."""

    place: str
    sample: Sample
    text: str
    key: str  # the text normalised
    context: tuple[str, ...]  # what else of the record the prompt shows: with it, two equal texts may differ in label
    label: str | None  # the class, as far as it is known
    fields: dict[str, Any]

    @property
    def group_names(self) -> list[str]:
        return [f"{column}={value}" for column, values in self.sample.groups.items() for value in values]


@dataclass(frozen=True)
class Part:
    """One split as it was read."""

    name: str
    path: str
    format: str
    sha256: str
    entries: list[Entry]
    refused: list[tuple[str, str, str]] = field(default_factory=list)  # kind, place, why
    where: dict[str, Any] = field(default_factory=dict)
    origin: str = ""  # train, for a part that is split off it
    is_whole: bool = True  # else only the first records of a streamed split
    stops: bool = True  # a run stops at a refused record; else it leaves it out

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def classes(self) -> Counter[str]:
        return by_class(self.entries)

    @property
    def groups(self) -> Counter[str]:
        return by_group(self.entries)


def by_class(entries: Iterable[Entry]) -> Counter[str]:
    return Counter(entry.label or OTHER for entry in entries)


def by_group(entries: Iterable[Entry]) -> Counter[str]:
    return Counter(name for entry in entries for name in entry.group_names)


def places(entries: Sequence[Entry]) -> list[str]:
    return [entry.place for entry in entries[:MOST_PLACES]]


def normalised(text: str) -> str:
    """Case, width, spacing and punctuation taken away. A text of punctuation alone keeps it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_PUNCTUATION).split()) or " ".join(folded.split())


def spelled_label(target: str, task: TaskSection) -> str | None:
    """The one label whose spelling stands in a target as a whole word: what the target was meant to say."""
    spellings = {
        spelling: label
        for label in task.labels
        for spelling in (label, task.verbalizers.get(label, label), *task.aliases.get(label, []))
    }
    found, rest = set(), target.casefold()
    for spelling in sorted(spellings, key=len, reverse=True):  # "not hate" before "hate"
        rest, count = re.subn(rf"(?<!\w){re.escape(spelling.casefold())}(?!\w)", "\0", rest)
        if count:
            found.add(spellings[spelling])
    return found.pop() if len(found) == 1 else None
