"""Gaps between groups with composition held equal: Counts by (group, stratum) come in, crude and directly
standardised FPR and FNR go out, with what had to be left out.

A crude gap mixes "this group is judged worse" with "this group's records come from the harder source". Direct
standardisation gives every group the same mix of strata. It can only use strata that every group has, so the crude
gap over those strata stands between the two: the step from `crude` to `common` is lost data, the step from `common`
to `standardised` is composition."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from sftlib.metrics.counts import Counts, none_if_nan
from sftlib.metrics.formulas import Array, divide
from sftlib.metrics.intervals import wilson_bounds
from sftlib.metrics.pairwise import proportion

Stratum = TypeVar("Stratum", bound=Hashable)


def standardised(
    counts: Mapping[tuple[str, Stratum], Counts],
    weights: Mapping[Stratum, float] | None = None,
    confidence: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """FPR and FNR of each group in a common mix of strata.

    Without `weights` the mix is the pooled one: each stratum weighs as many of the rate's records as all groups
    together have there.
    """
    return {metric: _standardise(metric, counts, weights, confidence) for metric in ("fpr", "fnr")}


def _standardise(
    metric: str,
    counts: Mapping[tuple[str, Stratum], Counts],
    weights: Mapping[Stratum, float] | None,
    confidence: float,
) -> dict[str, Any]:
    groups = list(dict.fromkeys(group for group, _ in counts))
    strata = list(dict.fromkeys(stratum for _, stratum in counts))
    hits, trials = _tables(metric, counts, groups, strata)
    weight = trials.sum(0).astype(float) if weights is None else _weights_of(weights, strata)
    # A stratum that holds nothing of this rate's records (only positives, for FPR) is not lost: it has no part in it.
    strata_in_play = (trials.sum(0) > 0) & (weight > 0)
    common = strata_in_play & (trials > 0).all(0)
    share = divide(np.where(common, weight, 0.0), np.asarray(weight[common].sum()))
    rates, low, high = _weighted_rates(hits[:, common], trials[:, common], share[common], confidence)
    crude = divide(hits.sum(1), trials.sum(1))
    crude_common = divide(hits[:, common].sum(1), trials[:, common].sum(1))
    lost = divide(weight[strata_in_play & ~common].sum(), weight[strata_in_play].sum())
    return {
        "groups": {
            group: {
                "crude": none_if_nan(crude[place]),
                "common": none_if_nan(crude_common[place]),
                "standardised": none_if_nan(rates[place]),
                "low": none_if_nan(low[place]),
                "high": none_if_nan(high[place]),
            }
            for place, group in enumerate(groups)
        },
        "differences": _differences(groups, crude, rates, low, high),
        "crude_gap": _gap(crude),
        "common_gap": _gap(crude_common),
        "standardised_gap": _gap(rates),
        "strata": [
            {"stratum": stratum, "weight": float(share[place])} for place, stratum in enumerate(strata) if common[place]
        ],
        "strata_left_out": [stratum for place, stratum in enumerate(strata) if (strata_in_play & ~common)[place]],
        "weight_lost": none_if_nan(lost),
    }


def _tables(
    metric: str, counts: Mapping[tuple[str, Stratum], Counts], groups: list[str], strata: list[Stratum]
) -> tuple[Array, Array]:
    empty = Counts()
    cells = [[proportion(counts.get((g, s), empty), metric) for s in strata] for g in groups]
    table = np.array(cells, dtype=np.int64).reshape(len(groups), len(strata), 2)
    return table[..., 0], table[..., 1]


def _weights_of(weights: Mapping[Stratum, float], strata: list[Stratum]) -> Array:
    missing = [stratum for stratum in strata if stratum not in weights]
    if missing or any(weight < 0 for weight in weights.values()):
        raise ValueError(
            f"weights {dict(weights)} do not fit: expected a weight of 0 or more for each stratum; missing {missing}"
        )
    return np.array([weights[stratum] for stratum in strata], float)


def _weighted_rates(hits: Array, trials: Array, share: Array, confidence: float) -> tuple[Array, Array, Array]:
    """Weighted means with bounds put together from the strata's Wilson bounds (MOVER), which unlike a normal
    approximation hold when a stratum has no error at all."""
    if not share.size:
        nothing = np.full(len(hits), np.nan)
        return nothing, nothing, nothing
    rates, (low, high) = hits / trials, wilson_bounds(hits, trials, confidence)
    mean = (share * rates).sum(1)
    down = np.sqrt(((share * (rates - low)) ** 2).sum(1))
    up = np.sqrt(((share * (high - rates)) ** 2).sum(1))
    return mean, mean - down, mean + up


def _differences(groups: list[str], crude: Array, rates: Array, low: Array, high: Array) -> list[dict[str, Any]]:
    """Signed gaps, a minus b, crude and standardised; the bounds are Newcombe's way of joining two intervals."""
    rows = []
    for a, b in combinations(range(len(groups)), 2):
        gap = rates[a] - rates[b]
        rows.append(
            {
                "a": groups[a],
                "b": groups[b],
                "crude": none_if_nan(crude[a] - crude[b]),
                "standardised": none_if_nan(gap),
                "low": none_if_nan(gap - np.hypot(rates[a] - low[a], high[b] - rates[b])),
                "high": none_if_nan(gap + np.hypot(high[a] - rates[a], rates[b] - low[b])),
            }
        )
    return rows


def _gap(rates: Array) -> float | None:
    known = rates[~np.isnan(rates)]
    return float(known.max() - known.min()) if known.size > 1 else None
