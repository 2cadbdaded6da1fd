"""Sufficient statistics of one cell: Codes come in batch by batch, counts of records by every combination of group,
source, original label, gold label and outcome go out. Everything the report says about labels is made of these."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sftlib.metrics.formulas import Array
from sftlib.report.vocabulary import NONE, Codes, Vocabularies

DENSE = 2**22  # cells of a count table that a batch may fill; beyond it the batch's keys are sorted instead
SOURCE, ORIGINAL = 1, 2  # axes of the count table; 0 is the group, 3 the gold label, 4 the outcome
PENDING = 2**20  # combinations that are kept apart before they are added up


class CountTable:
    """Counts of tuples of codes. Memory grows with the combinations that occur, not with the rows."""

    def __init__(self, width: int) -> None:
        self._coords: list[Array] = [np.empty((width, 0), np.int64)]
        self._counts: list[Array] = [np.empty(0, np.int64)]
        self._pending = 0

    def add(self, flat: Array, sizes: Sequence[int]) -> None:
        """Count `flat`, the keys of rows in a table of these sizes."""
        if math.prod(sizes) <= DENSE:
            table = np.bincount(flat)
            used = np.flatnonzero(table)
            counts = table[used]
        else:
            used, counts = np.unique(flat, return_counts=True)
        self._coords.append(np.stack(np.unravel_index(used, sizes)) if len(used) else self._coords[0][:, :0])
        self._counts.append(counts)
        self._pending += len(used)
        if self._pending > PENDING:
            self._settle()

    def result(self) -> tuple[Array, Array]:
        """(coordinates, counts), each combination once."""
        self._settle()
        return self._coords[0], self._counts[0]

    def _settle(self) -> None:
        coords, counts = np.concatenate(self._coords, axis=1), np.concatenate(self._counts)
        if len(counts):
            sizes = tuple(coords.max(axis=1) + 1)
            keys, place = np.unique(np.ravel_multi_index(tuple(coords), sizes), return_inverse=True)
            coords, counts = np.stack(np.unravel_index(keys, sizes)), np.bincount(place, counts).astype(np.int64)
        self._coords, self._counts, self._pending = [coords], [counts], 0


class Tally:
    """Counts of one cell, and what goes with them: reasons of unparsed answers, tokens, records without a label."""

    def __init__(self, words: Vocabularies) -> None:
        self.words = words
        self.columns = {column: CountTable(5) for column in words.all_columns}
        self.everyone = CountTable(5)  # the group code is always 0
        self.reasons = CountTable(2)
        self.unlabelled = self.unparsed = self.prompt_tokens = self.new_tokens = 0

    def add(self, codes: Codes) -> None:
        """Add a batch. Records whose gold label we do not know are counted, and are in no rate."""
        num_labels = len(self.words.labels)
        known = codes.gold < num_labels
        self.prompt_tokens += codes.tokens[0]
        self.new_tokens += codes.tokens[1]
        unparsed = codes.outcome == num_labels
        self.unparsed += int(unparsed.sum())
        sizes = (len(self.words.sources), len(self.words.originals), num_labels, num_labels + 1)
        base = ((codes.source * sizes[1] + codes.original) * sizes[2] + codes.gold) * sizes[3] + codes.outcome
        is_whole = bool(known.all())
        self.unlabelled += 0 if is_whole else int((~known).sum())
        self.everyone.add(base if is_whole else base[known], (1, *sizes))
        for column, table in self.columns.items():
            member = codes.groups[column]
            key = member.values * math.prod(sizes)
            key += base if member.is_plain(len(codes)) else base[member.rows]
            table.add(key if is_whole else key[known[member.rows]], (len(self.words.groups[column]), *sizes))
        lost = np.flatnonzero(unparsed & known)
        self.reasons.add(codes.reason[lost] * num_labels + codes.gold[lost], (len(self.words.reasons), num_labels))

    def overall(self) -> Array:
        return self._matrices(self.everyone, ()).get((), self._empty())

    def by_source(self) -> dict[tuple[str, ...], Array]:
        return self._named(self.everyone, (SOURCE,))

    def by_original(self) -> dict[tuple[str, ...], Array]:
        return self._named(self.everyone, (ORIGINAL,))

    def by_group(self, column: str, *further: int) -> dict[tuple[str, ...], Array]:
        """Matrices by group, or by group and stratum: `further` is SOURCE, ORIGINAL or both."""
        return self._named(self.columns[column], (0, *further), column)

    def by_reason(self) -> dict[str, int]:
        coords, counts = self.reasons.result()
        totals = np.bincount(coords[0], counts, len(self.words.reasons)).astype(int)
        named = {self.words.reasons.names[code]: int(totals[code]) for code in np.flatnonzero(totals)}
        return dict(sorted(named.items(), key=lambda entry: (-entry[1], entry[0])))

    def _empty(self) -> Array:
        return np.zeros((len(self.words.labels), len(self.words.labels) + 1), np.int64)

    def _matrices(self, table: CountTable, axes: tuple[int, ...]) -> dict[tuple[int, ...], Array]:
        coords, counts = table.result()
        if not len(counts):
            return {}
        if not axes:
            keys, place = np.empty((0, 1), np.int64), np.zeros(len(counts), np.int64)
        else:
            keys, place = np.unique(coords[list(axes)], axis=1, return_inverse=True)
        cells = np.zeros((keys.shape[1], *self._empty().shape), np.int64)
        np.add.at(cells, (place.ravel(), coords[3], coords[4]), counts)
        return {tuple(int(code) for code in key): cells[index] for index, key in enumerate(keys.T)}

    def _named(self, table: CountTable, axes: tuple[int, ...], column: str = "") -> dict[tuple[str, ...], Array]:
        """By name, in the order of the names whatever the order of the shards was; NONE is last."""
        lists = {SOURCE: self.words.sources, ORIGINAL: self.words.originals}
        words = [self.words.groups[column] if axis == 0 else lists[axis] for axis in axes]
        named = {
            tuple(word.names[code] for word, code in zip(words, key, strict=True)): matrix
            for key, matrix in self._matrices(table, axes).items()
        }
        return dict(sorted(named.items(), key=lambda entry: [(name == NONE, name) for name in entry[0]]))
