"""Scores of the positive class, compressed to what every score metric needs: labels and scores come in, a tied table
(one column per distinct score) or a mergeable histogram goes out. Row 0 holds positives, row 1 negatives, columns
ascend by score.

The histogram has equal bins, the first and the last of them cut further by the logarithm of the distance from 0 or 1:
a fine-tuned model's scores crowd there, and with equal bins alone such a model's AUROC was off by 0.003."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sftlib.metrics.counts import NEGATIVE, POSITIVE, Counts, check_codes
from sftlib.metrics.formulas import Array

DEFAULT_BINS = 1_000
# Sums are kept as integers in units of 2^-28 (4e-9), so that shards add up to the very same bits in any order;
# 2^63 of these units hold the log loss of 10^9 records that are all wrong with certainty.
UNIT = 2**28
SMALLEST_PROBABILITY = 1e-15  # log loss of a certain mistake would be infinite


TAIL_DECADES, CUTS_PER_DECADE = 13, 32  # down to 10^-16 from an edge of 10^-3, where float64 has nothing below 1
TAIL_COLUMNS = TAIL_DECADES * CUTS_PER_DECADE + 1


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistogram:
    """Counts by class and score column, with the sums that make Brier score, ECE and log loss exact to 4e-9."""

    bins: int  # equal bins from 0 to 1
    counts: Array  # (2, columns)
    score_sums: Array  # (2, columns), in UNITs
    square_error_sum: int  # in UNITs
    log_loss_sum: int  # in UNITs

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        if self.bins != other.bins:
            raise ValueError(f"histograms of {self.bins} and {other.bins} bins cannot be added; make both anew alike")
        return ScoreHistogram(
            self.bins,
            self.counts + other.counts,
            self.score_sums + other.score_sums,
            self.square_error_sum + other.square_error_sum,
            self.log_loss_sum + other.log_loss_sum,
        )

    def counts_at(self, threshold: float) -> Counts:
        """Outcomes when a score in the equal bin of `threshold` or above is called positive."""
        first = np.searchsorted(column_bins(self.bins), np.floor(threshold * self.bins))
        return counts_above(self.counts, int(first))


def score_histogram(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = DEFAULT_BINS, columns: Array | None = None
) -> ScoreHistogram:
    """The histogram of rows; labels are coded POSITIVE or NEGATIVE, probabilities are of the positive class. `columns`:
    their column_index, where it is known already."""
    label, p = check_scores(labels, probabilities, is_probability=True)
    width = num_columns(bins)
    cell = label * width + (column_index(p, bins) if columns is None else columns)
    return ScoreHistogram(
        bins,
        np.bincount(cell, minlength=2 * width).reshape(2, width),
        _integer_sums(cell, in_units(p), 2 * width).reshape(2, width),
        _total_units(square_errors(label, p)),
        _total_units(log_losses(label, p)),
    )


def group_tables(
    labels: npt.ArrayLike, columns: npt.ArrayLike, groups: npt.ArrayLike, num_groups: int, bins: int = DEFAULT_BINS
) -> Array:
    """Counts (groups, 2, columns) in one pass, from the column_index of each score, which all groupings share."""
    width = num_columns(bins)
    cell = check_codes("group", groups, num_groups) * 2 + check_codes("label", labels, 2)
    cell = cell * width + check_codes("column", columns, width)
    return np.bincount(cell, minlength=num_groups * 2 * width).reshape(num_groups, 2, width)


def tied_table(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Array, Array]:
    """(distinct scores, counts (2, distinct)): the exact counterpart of a histogram, for any real scores."""
    label, score = check_scores(labels, scores)
    distinct, place = np.unique(score, return_inverse=True)
    table = np.bincount(label * distinct.size + place, minlength=2 * distinct.size)
    return distinct, table.reshape(2, distinct.size)


def counts_above(table: Array, first: int) -> Counts:
    """Outcomes when column `first` of a table and all above it are called positive."""
    called = table[:, first:].sum(1)
    passed = table[:, :first].sum(1)
    return Counts(
        tp=int(called[POSITIVE]), fn=int(passed[POSITIVE]), fp=int(called[NEGATIVE]), tn=int(passed[NEGATIVE])
    )


def bin_index(probabilities: Array, bins: int) -> Array:
    """min(floor(p * bins), bins - 1), so that p = 1 falls into the last bin."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)  # to an integer is to floor: none is below 0


def num_columns(bins: int) -> int:
    """Columns of a histogram: its inner bins and the cuts of the two outer ones."""
    if bins < 2:
        raise ValueError(f"bins is {bins}; expected 2 or more: use {DEFAULT_BINS}")
    return bins - 2 + 2 * TAIL_COLUMNS


def column_index(probabilities: Array, bins: int) -> Array:
    """The histogram column of each probability; ascending, and never across the edge of an equal bin."""
    index = bin_index(probabilities, bins)
    column = np.asarray(index + (TAIL_COLUMNS - 1))
    first, last = np.flatnonzero(index == 0), np.flatnonzero(index == bins - 1)
    column[first] = TAIL_COLUMNS - 1 - _cuts_from_edge(probabilities[first], bins)
    column[last] = TAIL_COLUMNS + bins - 2 + _cuts_from_edge(1 - probabilities[last], bins)
    return column


def column_bins(bins: int) -> Array:
    """The equal bin that each column is part of."""
    return np.repeat(np.arange(bins), [TAIL_COLUMNS] + [1] * (bins - 2) + [TAIL_COLUMNS])


def _cuts_from_edge(distance: Array, bins: int) -> Array:
    """How many cuts closer to 0 or 1 than the edge of the outer bin; exact 0 and 1 have the outermost column."""
    with np.errstate(divide="ignore"):
        cuts = -np.log10(distance * bins) * CUTS_PER_DECADE
    return np.clip(cuts, 0, TAIL_COLUMNS - 1).astype(np.int64)


def in_units(values: Array) -> Array:
    """Values as whole UNITs: still floats, which hold whole numbers to 2^53."""
    units = values * UNIT
    return np.rint(units, out=units)


def _total_units(values: Array) -> int:
    return int(in_units(values).astype(np.int64).sum())


def square_errors(label: Array, p: Array) -> Array:
    """(p - y)^2 of each record, y = 1 for a positive."""
    return (p - (label == POSITIVE)) ** 2


def log_losses(label: Array, p: Array) -> Array:
    """-log of the probability given to the true class."""
    given = np.where(label == POSITIVE, p, 1 - p)
    return -np.log(np.maximum(given, SMALLEST_PROBABILITY))


def check_scores(labels: npt.ArrayLike, scores: npt.ArrayLike, is_probability: bool = False) -> tuple[Array, Array]:
    """Label codes and float scores, equally many, none missing, and within 0 to 1 where they must be."""
    label, score = check_codes("label", labels, 2), np.asarray(scores, float)
    if label.shape != score.shape:
        raise ValueError(f"{label.size} labels for {score.size} scores; expected one score per label")
    missing = int(np.isnan(score).sum())
    if missing:
        raise ValueError(f"{missing} of {score.size} scores are missing; leave those records out and say how many")
    if is_probability and score.size and not (score.min() >= 0 and score.max() <= 1):
        raise ValueError(
            f"scores run from {score.min():g} to {score.max():g}; expected probabilities from 0 to 1: "
            "put logits through the logistic function first"
        )
    return label, score


def _integer_sums(cell: Array, values: Array, num_cells: int) -> Array:
    """Sums by cell that do not round: bincount adds in float64, where whole numbers are exact up to 2^53."""
    block = 2**24  # rows of at most 2^28 units each
    sums = np.zeros(num_cells, np.int64)
    for start in range(0, cell.size, block):
        part = slice(start, start + block)
        sums += np.bincount(cell[part], values[part], minlength=num_cells).astype(np.int64)
    return sums
