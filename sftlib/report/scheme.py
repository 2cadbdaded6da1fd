"""How a task is judged: a confusion matrix in the order of the labels comes in, the M object of metrics.json goes out.
An open-ended task has no labels; there an answer is right or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from sftlib.config.tree import SFTConfig
from sftlib.metrics import formulas
from sftlib.metrics.bootstrap import bootstrap_intervals
from sftlib.metrics.counts import Counts, rates_by_group
from sftlib.metrics.formulas import Array, Formula
from sftlib.metrics.multiclass import multiclass_rates, one_against_rest
from sftlib.report.vocabulary import CROSS

BINARY_INTERVALS: dict[str, Formula] = {"f1": formulas.f1, "accuracy": formulas.accuracy}
CLASS_INTERVALS: dict[str, Formula] = {"macro_f1": formulas.macro_f1, "accuracy": formulas.accuracy}
# Of a positive class among several, one against the rest; what concerns all classes comes from the whole matrix.
_ONE_CLASS = (
    "n_positive", "n_negative", "tp", "fn", "fp", "tn", "unparsed_positive", "unparsed_negative", "precision", "recall",
    "f1", "fpr", "fnr", "selection_rate", "fpr_bound_low", "fpr_bound_high", "fnr_bound_low", "fnr_bound_high",
    "fpr_low", "fpr_high", "fnr_low", "fnr_high",
)  # fmt: skip

M = dict[str, Any]


@dataclass(frozen=True)
class Scheme:
    """The labels, positive first where there are two, and how intervals are made."""

    labels: tuple[str, ...]
    positive: str | None
    confidence: float = 0.95
    replicates: int = 10_000
    seed: int = 0
    calibration_bins: int = 10
    base_columns: tuple[str, ...] = ()  # group columns as the data has them
    crossings: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # intersection -> the columns that it crosses

    @classmethod
    def of(cls, config: SFTConfig) -> Scheme:
        labels, positive, report = tuple(config.task.labels), config.task.positive, config.report
        if config.task.type != "classification":
            labels, positive = (), None
        if len(labels) == 2:
            positive = positive or labels[0]
            labels = (positive, *(label for label in labels if label != positive))
        columns = tuple(config.data.group_columns)
        return cls(
            labels, positive, report.confidence, report.bootstrap, report.seed, report.calibration_bins, columns,
            {CROSS.join(pair): pair for pair in combinations(columns, 2)} if report.intersections else {},
        )  # fmt: skip

    @property
    def columns(self) -> tuple[str, ...]:
        """All groupings: the columns of the data, then their intersections."""
        return (*self.base_columns, *self.crossings)

    @property
    def has_labels(self) -> bool:
        return bool(self.labels)

    @property
    def is_binary(self) -> bool:
        return len(self.labels) == 2

    @property
    def positive_code(self) -> int:
        return self.labels.index(self.positive) if self.positive else 0

    @property
    def compared(self) -> dict[str, Formula]:
        """The metrics in which two cells are compared."""
        if not self.has_labels:
            return {"exact_match": formulas.accuracy}  # of one class, "what the reference says"
        names = ("accuracy", "f1", "fpr", "fnr") if self.is_binary else ("accuracy", "macro_f1")
        return {name: formulas.BINARY[name] for name in names}

    @property
    def headline(self) -> str:
        if not self.has_labels:
            return "exact_match"
        return "f1" if self.is_binary else "macro_f1"

    def counts(self, matrix: Array) -> Counts:
        """The binary outcomes: of the only two classes, or of the positive one against the rest."""
        return Counts.from_matrix(matrix) if self.is_binary else one_against_rest(matrix, self.positive_code)

    def measure(self, matrices: Mapping[str, Array], *, intervals: bool = True) -> dict[str, M]:
        """M of each matrix."""
        if self.is_binary:
            plain = rates_by_group({name: self.counts(matrix) for name, matrix in matrices.items()}, self.confidence)
        else:
            plain = self._several(matrices)
        formulas_of = BINARY_INTERVALS if self.is_binary else CLASS_INTERVALS
        return {name: {**m, **self._intervals(matrices[name], formulas_of, intervals)} for name, m in plain.items()}

    def empty(self) -> Array:
        return np.zeros((len(self.labels), len(self.labels) + 1), np.int64)

    def _several(self, matrices: Mapping[str, Array]) -> dict[str, M]:
        whole = {name: multiclass_rates(matrix, self.labels) for name, matrix in matrices.items()}
        if not self.positive:
            return whole
        one = rates_by_group({name: self.counts(matrix) for name, matrix in matrices.items()}, self.confidence)
        return {name: {**{key: one[name][key] for key in _ONE_CLASS}, **m} for name, m in whole.items()}

    def _intervals(self, matrix: Array, wanted: Mapping[str, Formula], made: bool) -> M:
        estimates = bootstrap_intervals(matrix, wanted, self.confidence, self.replicates, self.seed) if made else {}
        result: M = {}
        for name in wanted:
            estimate = estimates.get(name)
            result[f"{name}_low"] = estimate.low if estimate else None
            result[f"{name}_high"] = estimate.high if estimate else None
        return result
