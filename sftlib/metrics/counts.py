"""Binary outcomes as six cells: labels and predictions come in, Counts that can be added go out, and from Counts the
M object of metrics.json.

What an unparsed answer does: it stays in n, it is wrong in accuracy, an unparsed positive is a miss in recall and in
F1, and an unparsed negative is a miss of the negative class in macro-F1 (but no false positive, since nothing was
accused). FPR and FNR are over parsed answers only (FP/(FP+TN), FN/(FN+TP)), so with unparsed positives recall is less
than 1 - FNR; `*_bound_low/high` say where FPR and FNR would lie if every unparsed answer had been right, or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from sftlib.metrics.formulas import BINARY, Array
from sftlib.metrics.intervals import wilson_bounds

# Codes of label and outcome columns. The positive class is 0 because it is row 0 of every confusion matrix.
POSITIVE, NEGATIVE, UNPARSED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of one group by truth and outcome, in the order of the flattened confusion matrix."""

    tp: int = 0
    fn: int = 0
    up: int = 0  # positive record, answer unparsed
    fp: int = 0
    tn: int = 0
    un: int = 0  # negative record, answer unparsed

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0:
            raise ValueError(f"{self} holds a negative count; expected six counts of records, each 0 or more")

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def n(self) -> int:
        """All records."""
        return self.n_positive + self.n_negative

    @property
    def n_positive(self) -> int:
        """Positive records, parsed or not."""
        return self.tp + self.fn + self.up

    @property
    def n_negative(self) -> int:
        """Negative records, parsed or not."""
        return self.fp + self.tn + self.un

    def matrix(self) -> Array:
        """The (2, 3) confusion matrix that the formulas take."""
        return np.array(astuple(self), dtype=np.int64).reshape(2, 3)

    @classmethod
    def from_matrix(cls, matrix: npt.ArrayLike) -> Counts:
        """Counts of a (2, 3) matrix or its six cells in order."""
        cells = np.asarray(matrix).ravel()
        if cells.size != len(fields(cls)):
            raise ValueError(f"{cells.size} cells; expected 6 in the order tp, fn, up, fp, tn, un")
        return cls(*(int(cell) for cell in cells))


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of disjoint groups."""
    return sum(counts, Counts())


def tally(labels: npt.ArrayLike, outcomes: npt.ArrayLike) -> Counts:
    """Counts of rows: labels coded POSITIVE or NEGATIVE, outcomes POSITIVE, NEGATIVE or UNPARSED."""
    return Counts.from_matrix(tally_groups(labels, outcomes, np.zeros(np.size(labels), np.int64), 1)[0])


def tally_groups(labels: npt.ArrayLike, outcomes: npt.ArrayLike, groups: npt.ArrayLike, num_groups: int) -> Array:
    """Confusion matrices (num_groups, 2, 3) in one pass; a record in several groups is a row in each of them."""
    label, outcome = check_codes("label", labels, 2), check_codes("outcome", outcomes, 3)
    cell = (check_codes("group", groups, num_groups) * 2 + label) * 3 + outcome
    return np.bincount(cell, minlength=num_groups * 6).reshape(num_groups, 2, 3)


def check_codes(name: str, codes: npt.ArrayLike, num_codes: int) -> Array:
    """The codes as integers; a code out of range would silently land in another group's cell."""
    values = np.asarray(codes)
    if values.size and not (values.min() >= 0 and values.max() < num_codes):
        raise ValueError(
            f"{name} codes run from {values.min()} to {values.max()}; expected 0 to {num_codes - 1}: "
            "recode the column before counting"
        )
    return values.astype(np.int64, copy=False)


def rates(counts: Counts, confidence: float = 0.95) -> dict[str, int | float | None]:
    """The M object of one group: its cells, its rates (None where undefined) and Wilson bounds of FPR and FNR."""
    return rates_by_group({"": counts}, confidence)[""]


def rates_by_group(groups: Mapping[str, Counts], confidence: float = 0.95) -> dict[str, dict[str, int | float | None]]:
    """The M object of every group, by one call of each formula for all of them."""
    if not groups:
        return {}
    matrices = np.stack([counts.matrix() for counts in groups.values()])
    columns = {name: formula(matrices) for name, formula in BINARY.items()}
    for name, row, wrong in (("fpr", 1, 0), ("fnr", 0, 1)):
        bounds = wilson_bounds(matrices[:, row, wrong], matrices[:, row, :2].sum(-1), confidence)
        columns[f"{name}_low"], columns[f"{name}_high"] = bounds
    return {
        group: _cells(counts) | {name: none_if_nan(column[place]) for name, column in columns.items()}
        for place, (group, counts) in enumerate(groups.items())
    }


def none_if_nan(value: float | Array) -> float | None:
    """What is undefined leaves the arithmetic as None, which JSON writes as null."""
    number = float(value)
    return None if number != number else number  # NaN alone differs from itself; np.isnan is ten times slower


def _cells(counts: Counts) -> dict[str, int | float | None]:
    return {
        "n": counts.n,
        "n_positive": counts.n_positive,
        "n_negative": counts.n_negative,
        "tp": counts.tp,
        "fn": counts.fn,
        "fp": counts.fp,
        "tn": counts.tn,
        "unparsed_positive": counts.up,
        "unparsed_negative": counts.un,
    }
