"""Arithmetic of evaluation, numpy only: counts of outcomes come in, rates, intervals and comparisons go out.

`from sftlib.metrics import rates` loads only the module that holds it; importing the package loads nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "counts": (
        "NEGATIVE", "POSITIVE", "UNPARSED", "Counts", "rates", "rates_by_group", "tally", "tally_groups", "total",
    ),
    "multiclass": ("confusion_matrix", "multiclass_rates", "one_against_rest", "rates_by_class"),
    "intervals": ("chi_square", "holm", "newcombe", "normal_quantile", "two_proportion_z", "wilson", "wilson_bounds"),
    "fairness": ("disparities", "hybrid_score", "small_groups"),
    "pairwise": ("omnibus_tests", "pairwise_differences"),
    "standardise": ("standardised",),
    "scores": ("ScoreHistogram", "column_index", "group_tables", "score_histogram", "tied_table"),
    "ranking": ("auroc", "auroc_interval", "average_precision", "binned_average_precision", "bias_aucs", "generalised_mean", "tables_by_group"),
    "calibration": ("calibration_metrics", "calibration_metrics_of_histogram"),
    "thresholds": ("apply_threshold", "fit_histogram_threshold", "fit_threshold"),
    "bootstrap": ("bootstrap_differences", "bootstrap_intervals"),
    "paired": ("compare", "compare_cells", "flips", "joint_counts", "joint_counts_by_group", "mcnemar"),
    "verdicts": ("is_significant", "verdict"),
    "trivial": ("trivial_baselines",),
    "text": ("rouge_l", "text_metrics"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"sftlib.metrics has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
