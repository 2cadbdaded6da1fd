"""Every cell's answers, kept until it is known which cells are compared: codes come in shard by shard, a byte a record
goes to a scratch file, and for each shard everything that a comparison needs goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sftlib.metrics.formulas import Array
from sftlib.report.scratch import Piece, Scratch
from sftlib.report.vocabulary import Codes, Membership


@dataclass(frozen=True)
class ShardAnswers:
    """One shard: what is true, what each cell said, and who belongs to which group."""

    gold: Array
    outcomes: dict[str, Array]
    groups: dict[str, Membership]


class AnswerStore:
    """Gold labels and groups are those of the first cell that has a shard: they are the same samples in all."""

    def __init__(self, folder: Path) -> None:
        self._scratch = Scratch(folder)
        self._outcomes: dict[int, dict[str, Piece]] = {}
        self._gold: dict[int, Piece] = {}
        self._groups: dict[int, dict[str, tuple[Piece | None, Piece]]] = {}

    def add(self, cell: str, index: int, parts: Sequence[Codes]) -> None:
        self._outcomes.setdefault(index, {})[cell] = self._keep([part.outcome for part in parts])
        if index not in self._gold:
            self._gold[index] = self._keep([part.gold for part in parts])
            columns = parts[0].groups if parts else {}
            self._groups[index] = {column: self._keep_members(column, parts) for column in columns}

    def cells(self, index: int) -> list[str]:
        """Who has this shard."""
        return list(self._outcomes.get(index, {}))

    def shard(self, index: int, cells: Sequence[str]) -> ShardAnswers:
        """The answers of some cells that have this shard."""
        gold = self._scratch.get(self._gold[index])
        groups = {}
        for column, (rows, values) in self._groups[index].items():
            place = np.arange(len(gold)) if rows is None else self._scratch.get(rows)
            groups[column] = Membership(place, self._scratch.get(values))
        return ShardAnswers(gold, {cell: self._scratch.get(self._outcomes[index][cell]) for cell in cells}, groups)

    def _keep_members(self, column: str, parts: Sequence[Codes]) -> tuple[Piece | None, Piece]:
        """Rows of the shard, unless each has exactly one group, and the groups."""
        members = [part.groups[column] for part in parts]
        values = self._keep([member.values for member in members])
        if all(len(member.rows) == len(part) for member, part in zip(members, parts, strict=True)):
            return None, values
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return self._keep([m.rows + start for m, start in zip(members, starts, strict=False)]), values

    def _keep(self, arrays: Sequence[Array]) -> Piece:
        whole = np.concatenate([*arrays]) if arrays else np.empty(0, np.uint8)
        return self._scratch.put(whole.astype(np.min_scalar_type(int(whole.max(initial=0)))))
