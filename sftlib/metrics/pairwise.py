"""Group against group: {group: Counts} comes in, signed differences with intervals and adjusted tests go out.

Intervals are each at the stated confidence; the p-values of the declared family are adjusted together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from sftlib.metrics.counts import Counts, none_if_nan
from sftlib.metrics.intervals import chi_square, holm, newcombe_bounds, two_proportion_z

PROPORTIONS = ("fpr", "fnr", "selection_rate")


def proportion(counts: Counts, metric: str) -> tuple[int, int]:
    """Successes and trials of a rate that is a plain proportion of independent records."""
    if metric == "fpr":
        return counts.fp, counts.fp + counts.tn
    if metric == "fnr":
        return counts.fn, counts.fn + counts.tp
    if metric == "selection_rate":
        return counts.tp + counts.fp, counts.n
    raise ValueError(f"metric {metric!r} is not a proportion that can be compared; expected one of {PROPORTIONS}")


def pairwise_differences(
    groups: Mapping[str, Counts], family: tuple[str, ...] = ("fpr", "fnr"), confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Every pair of groups by every rate: difference (a minus b) with Newcombe bounds, and for the rates in the
    declared family a z-test with its p as it is and after Holm over the whole family."""
    unknown = set(family) - set(PROPORTIONS)
    if unknown:
        raise ValueError(f"family holds {sorted(unknown)}; expected some of {PROPORTIONS}")
    rows = [row for metric in PROPORTIONS for row in _compare_all(metric, groups, confidence, metric in family)]
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def omnibus_tests(groups: Mapping[str, Counts]) -> dict[str, dict[str, Any]]:
    """One chi-square over all groups for FPR and one for FNR: is there any difference at all."""
    result = {}
    for metric in ("fpr", "fnr"):
        pairs = [proportion(counts, metric) for counts in groups.values()]
        result[metric] = chi_square([hits for hits, _ in pairs], [trials for _, trials in pairs])._asdict()
    return result


def _compare_all(metric: str, groups: Mapping[str, Counts], confidence: float, tested: bool) -> list[dict[str, Any]]:
    """All pairs of groups by one rate; the bounds in one go, as 100 groups make 4,950 pairs."""
    pairs, successes = list(combinations(groups, 2)), {g: proportion(counts, metric) for g, counts in groups.items()}
    cells = [(*successes[a], *successes[b]) for a, b in pairs]
    hits_a, n_a, hits_b, n_b = np.array(cells, dtype=np.int64).reshape(-1, 4).T
    bounds = newcombe_bounds(hits_a, n_a, hits_b, n_b, confidence)
    rows = []
    for (a, b), counts, gap, low, high in zip(pairs, cells, *bounds, strict=True):
        z, p = two_proportion_z(*counts) if tested else (None, None)
        rows.append(
            {
                "metric": metric,
                "a": a,
                "b": b,
                "trials_a": counts[1],
                "trials_b": counts[3],
                "difference": none_if_nan(gap),
                "low": none_if_nan(low),
                "high": none_if_nan(high),
                "z": z,
                "p": p,
            }
        )
    return rows
