"""What a user of the bootstrap relies on: same seed same numbers, cost free of n, no false certainty."""

import time

import numpy as np
import pytest

from sftlib.metrics.bootstrap import bootstrap_differences, bootstrap_intervals, replicate_values
from sftlib.metrics.formulas import ANY_CLASSES, BINARY

SOME = {name: BINARY[name] for name in ("f1", "accuracy", "fpr", "fnr", "mcc")}


def test_same_seed_same_interval_and_another_seed_nearly_so(golden):
    matrix = golden["lgbtq"].matrix()
    first, again, other = (bootstrap_intervals(matrix, SOME, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["f1"] != other["f1"]
    for name in SOME:
        assert first[name].low == pytest.approx(other[name].low, abs=0.006)


def test_it_agrees_with_resampling_rows(golden, rows_of):
    """The multinomial of cells is the bootstrap of rows, not an approximation to it."""
    matrix = golden["mexican"].matrix()
    rng = np.random.default_rng(0)
    cell = np.repeat(np.arange(6), matrix.ravel())
    by_rows = [np.bincount(rng.choice(cell, cell.size), minlength=6).reshape(2, 3) for _ in range(4_000)]
    rows = BINARY["f1"](np.array(by_rows))
    cells = replicate_values(matrix, {"f1": BINARY["f1"]}, 4_000, rng)["f1"]
    for level in (0.025, 0.5, 0.975):
        assert np.quantile(rows, level) == pytest.approx(np.quantile(cells, level), abs=0.008)


def test_jackknife_error_of_a_proportion_is_the_textbook_one():
    found = bootstrap_intervals([[30, 10, 0], [20, 40, 0]], {"accuracy": BINARY["accuracy"]})["accuracy"]
    assert found.standard_error == pytest.approx((0.7 * 0.3 / 100) ** 0.5)


@pytest.mark.parametrize("n", [1_000, 100_000_000])
def test_ten_thousand_replicates_take_milliseconds_at_any_n(n):
    matrix = np.array([[3, 2, 0], [1, 4, 0]]) * (n // 10)
    bootstrap_intervals(matrix, {"f1": BINARY["f1"]})
    started = time.process_time()
    bootstrap_intervals(matrix, {"f1": BINARY["f1"]})
    assert time.process_time() - started < 0.2  # 4 ms on a quiet core


def test_a_perfect_score_is_not_certain():
    found = bootstrap_intervals([[20, 0, 0], [0, 20, 0]], SOME)
    assert found["f1"].estimate == 1.0
    assert 0.8 < found["f1"].low < 0.96
    assert found["f1"].high == 1.0
    assert found["fpr"].high > 0.05


def test_equal_groups_differ_by_an_interval_around_zero():
    found = bootstrap_differences([[20, 0, 0], [0, 20, 0]], [[30, 0, 0], [0, 10, 0]], SOME)["f1"]
    assert found.estimate == 0
    assert found.low < 0 < found.high


def test_differences_are_a_minus_b(golden):
    a, b = golden["lgbtq"].matrix(), golden["mexican"].matrix()
    forth, back = bootstrap_differences(a, b, SOME)["fpr"], bootstrap_differences(b, a, SOME)["fpr"]
    assert forth.estimate == pytest.approx(0.348945, abs=1e-6)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=0.01)


def test_what_has_no_value_has_no_interval():
    assert set(bootstrap_intervals(np.zeros((2, 3), int), SOME)["f1"]) == {None}
    assert set(bootstrap_intervals([[5, 3, 0], [0, 0, 0]], SOME)["fpr"]) == {None}


def test_one_record():
    found = bootstrap_intervals([[1, 0, 0], [0, 0, 0]], SOME)
    assert (found["f1"].estimate, found["fpr"].estimate) == (1.0, None)


def test_an_interval_that_is_mostly_about_undefined_replicates_is_not_given():
    """With one negative among 40, a third of the replicates have none, and their FPR is nothing."""
    found = bootstrap_intervals([[30, 9, 0], [1, 0, 0]], SOME)["fpr"]
    assert found[:3] == (1.0, None, None) or found.low < 1.0


def test_many_classes():
    matrix = np.zeros((8, 9), int)
    matrix[:, :8] = 2 + 20 * np.eye(8, dtype=int)
    found = bootstrap_intervals(matrix, ANY_CLASSES, replicates=2_000)
    for name in ("accuracy", "macro_f1", "weighted_f1", "mcc", "balanced_accuracy"):
        assert found[name].low < found[name].estimate < found[name].high


def test_a_confidence_in_percent_is_refused(golden):
    with pytest.raises(ValueError, match=r"give 0\.95 for 95%"):
        bootstrap_intervals(golden["mexican"].matrix(), SOME, confidence=95)
