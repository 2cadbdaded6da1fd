"""Means of a score of each record in two runs: against enumeration, against rows drawn one by one, and at the edges."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sftlib.metrics.paired_means import MOST_CELLS, cells_of, compare_means, sign_flip_p_value


@pytest.mark.parametrize("seed", range(3))
def test_sign_flips_agree_with_every_assignment_of_signs(seed: int) -> None:
    change = np.round(np.random.default_rng(seed).normal(0.2, 0.4, 10), 1)
    sums = np.array([abs(np.dot(signs, change)) for signs in product((-1, 1), repeat=len(change))])
    exact = (sums >= abs(change.sum()) - 1e-9).mean()
    assert sign_flip_p_value(change, 50_000) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("digits", [1, 6], ids=["few values", "all different"])
def test_the_interval_is_that_of_rows_drawn_one_by_one(digits: int) -> None:
    rng = np.random.default_rng(1)
    a = np.round(rng.beta(2, 3, 900), digits)
    b = np.round(np.clip(a + rng.normal(0.02, 0.2, 900), 0, 1), digits)
    assert (len(np.unique(b - a)) > MOST_CELLS) == (digits == 6)
    found, change = compare_means(a, b, replicates=4_000), b - a
    rows = change[rng.integers(0, 900, (4_000, 900))].mean(1)
    spread = change.std(ddof=1) / 30
    assert found["difference"] == pytest.approx(change.mean()) == pytest.approx(found["b"] - found["a"])
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(rows, (0.025, 0.975))), abs=0.2 * spread)
    assert found["standard_error"] == pytest.approx(spread, rel=0.01)
    assert (found["a_higher"], found["b_higher"]) == (int((change < 0).sum()), int((change > 0).sum()))


def test_needed_records_are_those_of_the_usual_formula() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(500), rng.random(500)
    change = b - a
    usual = ((1.959964 + 0.841621) * change.std(ddof=1) / change.mean()) ** 2
    assert compare_means(a, b, replicates=500)["needed_records"] == pytest.approx(usual, rel=0.01)


def test_both_ways_say_the_same() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(200).round(2), rng.random(200).round(2)
    there, back = compare_means(a, b, replicates=1_000), compare_means(b, a, replicates=1_000)
    assert there["difference"] == pytest.approx(-back["difference"]) and there["a_higher"] == back["b_higher"]
    assert there["p"] == back["p"] and there["tied"] == back["tied"]


def test_records_without_a_value_are_left_out_of_both() -> None:
    found = compare_means([0.5, np.nan, 1.0, 0.0], [0.5, 1.0, np.nan, 1.0], replicates=500)
    assert (found["n"], found["a"], found["b"], found["tied"]) == (2, 0.25, 0.75, 1)


def test_equal_answers_and_none_at_all() -> None:
    same = compare_means([0.5, 1.0], [0.5, 1.0], replicates=500)
    assert (same["difference"], same["p"], same["needed_records"]) == (0.0, 1.0, None)
    nothing = compare_means([], [])
    assert (nothing["n"], nothing["a"], nothing["difference"], nothing["p"]) == (0, None, None, None)
    with pytest.raises(ValueError, match="join them on sample id"):
        compare_means([1.0], [1.0, 0.0])


def test_very_many_values_share_cells_that_keep_their_mean() -> None:
    values = np.random.default_rng(4).normal(0, 1, 5_000)
    counts, means = cells_of(values)
    assert counts.size <= MOST_CELLS and counts.sum() == 5_000
    assert (counts * means).sum() == pytest.approx(values.sum())
