"""Scores of one cell: Codes come in, tables of positives and negatives by score go out, for all records and each group.

Up to EXACT_ROWS records every distinct score is a column of its own; beyond that scores fall into BINS bins, which
costs the same memory at any number of records. Which of the two is decided by the run's size, never by its shards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sftlib.metrics.counts import NEGATIVE, POSITIVE
from sftlib.metrics.formulas import Array
from sftlib.metrics.scores import ScoreHistogram, column_index, group_tables, num_columns, score_histogram, tied_table
from sftlib.report.vocabulary import Codes, Vocabularies

EXACT_ROWS = 200_000
BINS = 1_000


@dataclass(frozen=True)
class ScoreTables:
    """What ranking and calibration need. Without a histogram, `labels` and `scores` are all of them."""

    overall: Array
    groups: Mapping[str, Mapping[str, Array]]
    labels: Array
    scores: Array
    histogram: ScoreHistogram | None


class ScoreTally:
    """The scores of one cell, added up; `positive` is the code of the positive label."""

    def __init__(self, words: Vocabularies, positive: int, rows: int, calibration_bins: int) -> None:
        self.words, self.positive, self.is_exact = words, positive, rows <= EXACT_ROWS
        self.bins = calibration_bins * math.ceil(BINS / calibration_bins)  # so that the bins of the ECE divide it
        self.scored = self.unscored = self.out_of_range = 0
        self._rows: list[tuple[Array, Array]] = []
        self._members: dict[str, list[tuple[Array, Array]]] = {column: [] for column in words.all_columns}
        self._histogram: ScoreHistogram | None = None
        self._group_counts: dict[str, Array] = {
            column: np.zeros((0, 2, num_columns(self.bins)), int) for column in words.all_columns
        }

    def add(self, codes: Codes) -> None:
        """Add a batch; a record without a score or without a known label is counted and left out."""
        known = codes.gold < len(self.words.labels)
        kept = known & (codes.score >= 0) & (codes.score <= 1)  # NaN is neither
        scored, unscored = int(kept.sum()), int((known & np.isnan(codes.score)).sum())
        self.unscored += unscored
        self.out_of_range += int(known.sum()) - scored - unscored
        label = np.where(codes.gold == self.positive, POSITIVE, NEGATIVE)
        if self.is_exact:
            self._keep(codes, kept, label)
        elif scored:
            self._bin(codes, kept, label)
        self.scored += scored

    def _keep(self, codes: Codes, kept: Array, label: Array) -> None:
        place = np.cumsum(kept) - 1 + self.scored  # position among all kept records
        self._rows.append((label[kept], codes.score[kept]))
        for column, parts in self._members.items():
            member = codes.groups[column]
            used = kept[member.rows]
            parts.append((place[member.rows[used]], member.values[used]))

    def _bin(self, codes: Codes, kept: Array, label: Array) -> None:
        rows = np.flatnonzero(kept)
        known, score = label[rows], codes.score[rows]
        columns = column_index(score, self.bins)
        added = score_histogram(known, score, self.bins, columns)
        self._histogram = added if self._histogram is None else self._histogram + added
        for name, before in self._group_counts.items():
            member, size = codes.groups[name], len(self.words.groups[name])
            if member.is_plain(len(codes)):
                counts = group_tables(known, columns, member.values[rows], size, self.bins)
            else:
                used = kept[member.rows]
                place = np.searchsorted(rows, member.rows[used])
                counts = group_tables(known[place], columns[place], member.values[used], size, self.bins)
            counts[: len(before)] += before
            self._group_counts[name] = counts

    def tables(self) -> ScoreTables:
        """All tables; every group's has the columns of the overall one."""
        empty = np.empty(0)
        if self._histogram is not None:
            binned = {
                column: dict(zip(self.words.groups[column].names, counts, strict=False))
                for column, counts in self._group_counts.items()
            }
            return ScoreTables(self._histogram.counts, binned, empty, empty, self._histogram)
        labels = np.concatenate([part[0] for part in self._rows] or [empty.astype(int)])
        scores = np.concatenate([part[1] for part in self._rows] or [empty])
        distinct, overall = tied_table(labels, scores)
        cell = labels * len(distinct) + np.searchsorted(distinct, scores)
        groups = {column: self._group_tables(column, cell, len(distinct)) for column in self._members}
        return ScoreTables(overall, groups, labels, scores, None)

    def _group_tables(self, column: str, cell: Array, columns: int) -> Mapping[str, Array]:
        parts = self._members[column]
        rows = np.concatenate([part[0] for part in parts] or [np.empty(0, int)]).astype(int)
        values = np.concatenate([part[1] for part in parts] or [np.empty(0, int)]).astype(int)
        order = np.argsort(values, kind="stable")
        return _ExactTables(self.words.groups[column].names, cell[rows[order]], values[order], columns)


class _ExactTables(Mapping[str, Array]):
    """The table of each group, made when it is asked for: of 100 groups with 200,000 scores all at once are 320 MB."""

    def __init__(self, names: list[str], cells: Array, values: Array, columns: int) -> None:
        self._columns, self._cells = columns, cells
        ends = np.searchsorted(values, np.arange(len(names) + 1))
        self._spans = {name: (ends[code], ends[code + 1]) for code, name in enumerate(names)}

    def __getitem__(self, name: str) -> Array:
        start, end = self._spans[name]
        return np.bincount(self._cells[start:end], minlength=2 * self._columns).reshape(2, self._columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)
