"""Disparities between groups: {group: Counts} comes in, one JSON-ready object per grouping column goes out.

A group whose denominator is empty is left out of a range or sum and named under `undefined`; a range over fewer than
two groups is None. Every rate here is over parsed answers (TPR = 1 - FNR); the selection rate is over all records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sftlib.metrics import formulas
from sftlib.metrics.counts import Counts, none_if_nan, total
from sftlib.metrics.formulas import Array, Formula
from sftlib.metrics.pairwise import omnibus_tests, pairwise_differences

SMALL_GROUP = 30  # fewer positives or negatives than this and a group's rates say little
GROUP_RATES: dict[str, Formula] = {
    "fpr": formulas.fpr,
    "fnr": formulas.fnr,
    "selection_rate": formulas.selection_rate,
}


def disparities(
    groups: Mapping[str, Counts],
    overall: Counts | None = None,
    reference: str | None = None,
    family: tuple[str, ...] = ("fpr", "fnr"),
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Everything about one grouping column. `overall` is needed where records may be in several groups or in none;
    `reference` is the largest group unless named; `family` are the metrics that are tested pairwise under one Holm."""
    whole = total(groups.values()) if overall is None else overall
    return {
        **summary_gaps(groups),
        **error_rate_deviations(groups, whole),
        **ratios_to_reference(groups, reference),
        "undefined": undefined_rates(groups),
        "small_groups": small_groups(groups),
        # Overlapping groups share records: then intervals and tests, made for independent groups, are only a guide.
        "independent": sum(counts.n for counts in groups.values()) <= whole.n,
        "pairwise": pairwise_differences(groups, family, confidence),
        "omnibus": omnibus_tests(groups),
    }


def summary_gaps(groups: Mapping[str, Counts]) -> dict[str, float | None]:
    """Demographic parity, equalized odds and equal opportunity over all groups.

    These are ranges: they grow with the number of groups even when nothing differs, so they describe and are never
    tested; the tests are pairwise and omnibus.
    """
    selected, false_alarms, hits = (
        _column(groups, formula) for formula in (formulas.selection_rate, formulas.fpr, formulas.tpr)
    )
    fpr_range, tpr_range = _range(false_alarms), _range(hits)
    return {
        "demographic_parity_difference": _range(selected),
        "demographic_parity_ratio": _ratio(selected),
        "equalized_odds_difference": _both(max, tpr_range, fpr_range),
        "equalized_odds_difference_mean": _both(lambda a, b: (a + b) / 2, tpr_range, fpr_range),
        "equalized_odds_ratio": _both(min, _ratio(hits), _ratio(false_alarms)),
        "equal_opportunity_difference": tpr_range,
    }


def error_rate_deviations(groups: Mapping[str, Counts], overall: Counts) -> dict[str, float | None]:
    """FPED and FNED: summed distance of the groups' rates from the overall rate (the sum grows with the groups)."""
    result: dict[str, float | None] = {}
    for name, formula in (("fped", formulas.fpr), ("fned", formulas.fnr)):
        distance = np.abs(_column(groups, formula) - formula(overall.matrix()))
        result[name] = None if np.isnan(distance).all() else float(np.nansum(distance))
    return result


def ratios_to_reference(groups: Mapping[str, Counts], reference: str | None = None) -> dict[str, Any]:
    """Each group's rates over those of the reference group (the largest unless named)."""
    if not groups:
        return {"reference": None, "ratios": {}}
    if reference is None:
        reference = max(groups, key=lambda group: groups[group].n)
    if reference not in groups:
        raise ValueError(f"reference group {reference!r} is not in the data; expected one of {sorted(groups)}")
    base, names = groups[reference].matrix(), list(groups)
    columns = {
        metric: formulas.divide(_column(groups, formula), formula(base)) for metric, formula in GROUP_RATES.items()
    }
    ratios = {
        group: {metric: none_if_nan(column[place]) for metric, column in columns.items()}
        for place, group in enumerate(names)
    }
    return {"reference": reference, "ratios": ratios}


def undefined_rates(groups: Mapping[str, Counts]) -> dict[str, list[str]]:
    """The groups that have no record to compute a rate from, by rate."""
    return {
        metric: [group for group, rate in zip(groups, _column(groups, formula), strict=True) if np.isnan(rate)]
        for metric, formula in GROUP_RATES.items()
    }


def small_groups(groups: Mapping[str, Counts], least: int = SMALL_GROUP) -> dict[str, dict[str, int]]:
    """The groups with fewer than `least` positives or negatives, with both numbers."""
    return {
        group: {"n_positive": counts.n_positive, "n_negative": counts.n_negative}
        for group, counts in groups.items()
        if min(counts.n_positive, counts.n_negative) < least
    }


def hybrid_score(f1: float | None, bias_score: float | None, f1_weight: float = 0.7) -> float | None:
    """The weighted sum that the record ranks by; an option for a table, never the verdict."""
    if f1 is None or bias_score is None:
        return None
    return f1_weight * f1 + (1 - f1_weight) * bias_score


def _column(groups: Mapping[str, Counts], formula: Formula) -> Array:
    if not groups:
        return np.empty(0)
    return formula(np.stack([counts.matrix() for counts in groups.values()]))


def _range(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.max() - known.min()) if known.size > 1 else None


def _ratio(values: Array) -> float | None:
    """Smallest over largest; None where all are 0, since 0/0 says nothing about parity."""
    known = values[~np.isnan(values)]
    return float(known.min() / known.max()) if known.size > 1 and known.max() > 0 else None


def _both(combine: Any, first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else float(combine(first, second))
