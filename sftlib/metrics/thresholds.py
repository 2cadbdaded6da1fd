"""A decision threshold fitted on validation, to be applied to test: scores or a histogram come in, a Threshold goes
out; a record is called positive when its score is at least the threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sftlib.metrics.counts import NEGATIVE, POSITIVE, Counts
from sftlib.metrics.formulas import Array, divide
from sftlib.metrics.scores import ScoreHistogram, check_scores, column_bins, counts_above, tied_table

OBJECTIVES = ("f1", "youden")


class Threshold(NamedTuple):
    threshold: float | None  # None: undefined, for want of positives (or, for Youden, of either class)
    objective: str
    value: float | None  # F1, or TPR - FPR, on the data that it was fitted on
    counts: Counts | None  # the outcomes there


def fit_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike, objective: str = "f1") -> Threshold:
    """The best threshold among the distinct scores of rows."""
    distinct, table = tied_table(labels, scores)
    return _best(table, distinct, objective)


def fit_histogram_threshold(histogram: ScoreHistogram, objective: str = "f1") -> Threshold:
    """The best threshold among the lower edges of a histogram's equal bins."""
    column_bin = column_bins(histogram.bins)
    first = np.searchsorted(column_bin, np.arange(histogram.bins))
    return _best(
        np.add.reduceat(histogram.counts, first, axis=1), np.arange(histogram.bins) / histogram.bins, objective
    )


def apply_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> Counts:
    """The outcomes of rows under a threshold that was fitted elsewhere."""
    label, score = check_scores(labels, scores)
    called = score >= threshold
    positive = label == POSITIVE
    return Counts(
        tp=int((positive & called).sum()),
        fn=int((positive & ~called).sum()),
        fp=int((~positive & called).sum()),
        tn=int((~positive & ~called).sum()),
    )


def _best(table: Array, candidates: Array, objective: str) -> Threshold:
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}; expected one of {OBJECTIVES}")
    called = np.cumsum(table[:, ::-1], axis=1)[:, ::-1]  # at or above each candidate
    positives, negatives = table.sum(1)
    if objective == "f1":
        value = divide(2 * called[POSITIVE], np.where(positives > 0, positives + called.sum(0), 0))
    else:
        value = divide(called[POSITIVE], positives) - divide(called[NEGATIVE], negatives)
    if not value.size or np.isnan(value).all():
        return Threshold(None, objective, None, None)
    # Among equally good thresholds the one nearest 0.5 changes the model's own decision least.
    ties = np.flatnonzero(value >= np.nanmax(value) - 1e-12)
    place = int(ties[np.argmin(np.abs(candidates[ties] - 0.5))])
    return Threshold(float(candidates[place]), objective, float(value[place]), counts_above(table, place))
