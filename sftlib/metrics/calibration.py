"""Whether probabilities mean what they say: rows, or a ScoreHistogram, come in; Brier score, ECE, log loss and the
reliability diagram go out. M, the number of ECE bins, changes the figure and is therefore always handed back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.metrics.counts import POSITIVE
from sftlib.metrics.formulas import Array
from sftlib.metrics.scores import (
    UNIT,
    ScoreHistogram,
    bin_index,
    check_scores,
    column_bins,
    log_losses,
    square_errors,
)

DEFAULT_ECE_BINS = 10


def calibration_metrics(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = DEFAULT_ECE_BINS
) -> dict[str, Any]:
    """Brier, log loss, ECE and its bins from rows."""
    label, p = check_scores(labels, probabilities, is_probability=True)
    place = bin_index(p, bins)
    return _result(
        square_errors(label, p).sum(),
        log_losses(label, p).sum(),
        np.bincount(place, minlength=bins),
        np.bincount(place, p, minlength=bins),
        np.bincount(place, label == POSITIVE, minlength=bins),
    )


def calibration_metrics_of_histogram(histogram: ScoreHistogram, bins: int = DEFAULT_ECE_BINS) -> dict[str, Any]:
    """The same from a merged histogram, whose number of bins must be a multiple of M."""
    if bins < 1 or histogram.bins % bins:
        raise ValueError(f"{bins} ECE bins do not divide {histogram.bins} histogram bins; use 5, 10 or 20")
    first = np.searchsorted(column_bins(histogram.bins), np.arange(bins) * (histogram.bins // bins))
    return _result(
        histogram.square_error_sum / UNIT,
        histogram.log_loss_sum / UNIT,
        np.add.reduceat(histogram.counts.sum(0), first),
        np.add.reduceat(histogram.score_sums.sum(0), first) / UNIT,
        np.add.reduceat(histogram.counts[POSITIVE], first),
    )


def _result(square_error: float, loss: float, n: Array, score_sums: Array, positives: Array) -> dict[str, Any]:
    """ECE = sum of n_b/n * |mean score_b - share of positives_b|; empty bins have no part in it."""
    total = int(n.sum())
    if total == 0:
        return {"n": 0, "brier": None, "log_loss": None, "ece": None, "ece_bins": len(n), "reliability": []}
    used = np.flatnonzero(n)
    return {
        "n": total,
        "brier": float(square_error / total),
        "log_loss": float(loss / total),
        "ece": float(np.abs(score_sums - positives).sum() / total),
        "ece_bins": len(n),
        "reliability": [
            {
                "bin": int(place),
                "n": int(n[place]),
                "mean_score": float(score_sums[place] / n[place]),
                "share_positive": float(positives[place] / n[place]),
            }
            for place in used
        ],
    }
