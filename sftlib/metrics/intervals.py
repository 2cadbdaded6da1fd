"""Intervals and tests for proportions: counts come in, bounds, statistics and p-values go out.

What an empty denominator leaves undefined is None (NaN in the array form), never 0 and never an exception."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from sftlib.metrics.formulas import Array, divide


class Interval(NamedTuple):
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A signed difference of two proportions, first minus second, with its interval."""

    estimate: float | None
    low: float | None
    high: float | None


class ProportionTest(NamedTuple):
    statistic: float | None
    p: float | None


class OmnibusResult(NamedTuple):
    """Chi-square over all groups; below about 5 expected records in a cell the p-value is rough."""

    statistic: float | None
    df: int | None
    p: float | None
    min_expected: float | None


def normal_quantile(confidence: float) -> float:
    """The two-sided standard normal quantile: 1.959964 for a confidence of 0.95."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; expected a share between 0 and 1: give 0.95 for 95%")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_bounds(successes: Array, trials: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """Wilson score bounds of each proportion, NaN where there were no trials."""
    hits, n = np.asarray(successes, float), np.asarray(trials, float)
    z2 = normal_quantile(confidence) ** 2
    centre = divide(hits + z2 / 2, np.where(n > 0, n + z2, 0.0))
    half = divide(np.sqrt(z2 * (hits * divide(n - hits, n) + z2 / 4)), n + z2)
    # Rounding leaves 1e-17 where the bound is exactly 0 or 1.
    low = np.where(hits == 0, np.minimum(centre, 0.0), np.maximum(centre - half, 0.0))
    high = np.where(hits == n, np.maximum(centre, 1.0), np.minimum(centre + half, 1.0))
    return low, high


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson score interval of successes/trials."""
    _check_proportion(successes, trials)
    if trials == 0:
        return Interval(None, None)
    low, high = wilson_bounds(np.asarray(successes), np.asarray(trials), confidence)
    return Interval(float(low), float(high))


def newcombe_bounds(
    hits_a: Array, n_a: Array, hits_b: Array, n_b: Array, confidence: float = 0.95
) -> tuple[Array, Array, Array]:
    """(difference, low, high) of each pair of independent proportions, by Newcombe's hybrid score method (his 10)."""
    rate_a, rate_b = divide(hits_a, n_a), divide(hits_b, n_b)
    low_a, high_a = wilson_bounds(hits_a, n_a, confidence)
    low_b, high_b = wilson_bounds(hits_b, n_b, confidence)
    gap = rate_a - rate_b
    return gap, gap - np.hypot(rate_a - low_a, high_b - rate_b), gap + np.hypot(high_a - rate_a, rate_b - low_b)


def newcombe(hits_a: int, n_a: int, hits_b: int, n_b: int, confidence: float = 0.95) -> Difference:
    """Newcombe's interval for the difference of two independent proportions, a minus b."""
    _check_proportion(hits_a, n_a)
    _check_proportion(hits_b, n_b)
    if n_a == 0 or n_b == 0:
        return Difference(None, None, None)
    a, trials_a, b, trials_b = np.array([hits_a, n_a, hits_b, n_b])
    return Difference(*map(float, newcombe_bounds(a, trials_a, b, trials_b, confidence)))


def two_proportion_z(hits_a: int, n_a: int, hits_b: int, n_b: int) -> ProportionTest:
    """Pooled z-test of equal proportions, two-sided; p is 1 where both are 0 or both are 1."""
    _check_proportion(hits_a, n_a)
    _check_proportion(hits_b, n_b)
    if n_a == 0 or n_b == 0:
        return ProportionTest(None, None)
    pooled = (hits_a + hits_b) / (n_a + n_b)
    variance = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
    if variance == 0:
        return ProportionTest(0.0, 1.0)
    z = (hits_a / n_a - hits_b / n_b) / math.sqrt(variance)
    return ProportionTest(z, math.erfc(abs(z) / math.sqrt(2)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over the family given; a test that could not be made (None) is not in it."""
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, place) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[place] = running
    return adjusted


def chi_square(hits: Sequence[int], trials: Sequence[int]) -> OmnibusResult:
    """Omnibus chi-square of equal proportions over all groups that have trials (at least two of them)."""
    n = np.asarray(trials, float)
    observed = np.stack([np.asarray(hits, float), n - np.asarray(hits, float)])[:, n > 0]
    if observed.shape[1] < 2:
        return OmnibusResult(None, None, None, None)
    expected = observed.sum(1, keepdims=True) * observed.sum(0) / observed.sum()
    statistic = float(np.nansum(divide((observed - expected) ** 2, expected)))
    df = observed.shape[1] - 1
    return OmnibusResult(statistic, df, chi_square_tail(statistic, df), float(expected.min()))


def chi_square_tail(statistic: float, df: int) -> float:
    """P(chi-square with df degrees of freedom >= statistic)."""
    from scipy.special import chdtrc  # imported here: 0.1 s that `import sftlib.metrics` must not cost

    return float(chdtrc(df, statistic))


def _check_proportion(successes: float, trials: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials}: expected 0 <= successes <= trials; pass successes first")
