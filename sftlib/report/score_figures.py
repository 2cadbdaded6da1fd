"""What a cell's scores are worth: their tables come in, the `scores` of metrics.json go out."""

from __future__ import annotations

from typing import Any

from sftlib.metrics.calibration import calibration_metrics, calibration_metrics_of_histogram
from sftlib.metrics.ranking import auroc, auroc_interval, average_precision, bias_aucs
from sftlib.report.scheme import Scheme
from sftlib.report.scored import ScoreTally
from sftlib.report.vocabulary import NONE


def score_figures(scores: ScoreTally, scheme: Scheme, bins: int) -> dict[str, Any]:
    """Ranking, calibration with `bins` bins, and bias AUCs of every group."""
    tables = scores.tables()
    interval = auroc_interval(tables.overall, scheme.confidence)
    if tables.histogram is None:
        calibration = calibration_metrics(tables.labels, tables.scores, bins)
    else:
        calibration = calibration_metrics_of_histogram(tables.histogram, bins)
    return {
        "positive": scheme.positive,
        "n": scores.scored,
        "unscored": scores.unscored,
        "out_of_range": scores.out_of_range,
        "exact": scores.is_exact,
        "auroc": auroc(tables.overall),
        "auroc_low": interval.low,
        "auroc_high": interval.high,
        "average_precision": average_precision(tables.overall),
        **{name: calibration[name] for name in ("brier", "ece", "ece_bins", "log_loss", "reliability")},
        "bias_aucs": {
            column: bias_aucs(tables.overall, groups, names=[name for name in groups if name != NONE])
            for column, groups in tables.groups.items()
        },
    }
