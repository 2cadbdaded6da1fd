"""Intervals and tests of 1,000 random tables against statsmodels."""

import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    proportions_chisquare,
    proportions_ztest,
)

from sftlib.metrics.intervals import chi_square, holm, newcombe, two_proportion_z, wilson, wilson_bounds
from sftlib.metrics.paired import mcnemar_p_values

NUM_TABLES = 1_000


@pytest.fixture
def pairs():
    """(hits a, n a, hits b, n b), small enough that all, none and ties occur."""
    rng = np.random.default_rng(4)
    n = rng.integers(1, 30, size=(NUM_TABLES, 2))
    hits = rng.binomial(n, rng.choice([0.0, 0.05, 0.5, 1.0], size=n.shape))
    return np.stack([hits[:, 0], n[:, 0], hits[:, 1], n[:, 1]], axis=1)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson(pairs, confidence):
    low, high = wilson_bounds(pairs[:, 0], pairs[:, 1], confidence)
    theirs = proportion_confint(pairs[:, 0], pairs[:, 1], alpha=1 - confidence, method="wilson")
    np.testing.assert_allclose((low, high), theirs, atol=1e-12)


def test_newcombe(pairs):
    for a, n_a, b, n_b in pairs.tolist():
        theirs = confint_proportions_2indep(a, n_a, b, n_b, method="newcomb", compare="diff")
        assert newcombe(a, n_a, b, n_b)[1:] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_two_proportion_z(pairs):
    for a, n_a, b, n_b in pairs.tolist():
        found, (z, p) = two_proportion_z(a, n_a, b, n_b), proportions_ztest([a, b], [n_a, n_b])
        assert found == ((0.0, 1.0) if np.isnan(z) else pytest.approx((z, p), abs=1e-12))


@pytest.mark.filterwarnings("ignore")
def test_chi_square(pairs):
    for a, n_a, b, n_b in pairs.tolist():
        found = chi_square([a, b, a], [n_a, n_b, n_a])
        statistic, p, _ = proportions_chisquare([a, b, a], [n_a, n_b, n_a])
        expected = (0.0, 1.0) if np.isnan(statistic) else pytest.approx((statistic, p), abs=1e-12)
        assert (found.statistic, found.p) == expected


def test_holm(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # theirs collects garbage at every call: 50 ms each in a test process
    rng = np.random.default_rng(5)
    for _ in range(NUM_TABLES):
        p = rng.random(rng.integers(1, 12)).round(1) ** 3  # rounded, for ties
        assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_keeps_out_what_could_not_be_tested():
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([None]) == [None]
    assert holm([]) == []


def test_mcnemar_exact_and_mid_p():
    from scipy.stats import binom

    rng = np.random.default_rng(6)
    for lost, gained in rng.integers(0, 60, size=(NUM_TABLES, 2)).tolist():
        exact, mid = mcnemar_p_values(lost, gained)
        theirs = sm_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue if lost + gained else 1.0
        assert exact == pytest.approx(min(1.0, theirs))
        point = binom.pmf(min(lost, gained), lost + gained, 0.5)
        tail = binom.cdf(min(lost, gained), lost + gained, 0.5)
        assert mid == pytest.approx(min(1.0, 2 * tail - point) if lost + gained else 1.0)


def test_mcnemar_of_ten_million_discordant_pairs():
    exact, mid = mcnemar_p_values(5_000_000, 5_010_000)
    z = 9_999 / 10_010_000**0.5  # with the continuity correction, exact to 4 digits at this size
    assert exact == pytest.approx(math.erfc(z / 2**0.5), rel=1e-4)
    assert mid == pytest.approx(math.erfc(10_000 / 10_010_000**0.5 / 2**0.5), rel=1e-4)


def test_what_is_empty_is_none():
    assert wilson(0, 0) == (None, None)
    assert newcombe(0, 0, 1, 2) == (None, None, None)
    assert two_proportion_z(1, 2, 0, 0) == (None, None)
    assert chi_square([1, 0], [2, 0]) == (None, None, None, None)
    assert chi_square([], []) == (None, None, None, None)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_in_percent_is_refused(confidence):
    with pytest.raises(ValueError, match=r"give 0\.95 for 95%"):
        wilson(1, 2, confidence)


def test_successes_above_trials_are_refused():
    with pytest.raises(ValueError, match="3 of 2: expected 0 <= successes <= trials"):
        wilson(3, 2)
