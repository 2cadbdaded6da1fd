"""Two runs on the same records: what is counted, what is tested, what is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.metrics.counts import Counts, rates, tally
from sftlib.metrics.formulas import ANY_CLASSES, BINARY
from sftlib.metrics.paired import (
    compare,
    compare_cells,
    difference_of,
    flips,
    joint_counts,
    joint_counts_by_group,
    needed_records,
    run_a,
    run_b,
)
from sftlib.metrics.permutation import permutation_p_values
from sftlib.metrics.verdicts import is_significant, verdict

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=80)


def joint_of(positive, negative):
    joint = np.zeros((2, 3, 3), int)
    joint[0, :2, :2], joint[1, :2, :2] = positive, negative
    return joint


@pytest.fixture
def close_runs():
    """The record's comparison, [[625,29],[47,307]] in accuracy, with both labels told apart."""
    return joint_of([[300, 20], [30, 105]], [[202, 17], [9, 325]])


@pytest.fixture
def distant_runs():
    return joint_of([[200, 10], [120, 125]], [[60, 110], [20, 363]])


@given(rows)
def test_margins_of_the_joint_counts_are_the_counts_of_each_run(records):
    label, a, b, group = np.array(records, dtype=np.int64).reshape(-1, 4).T
    joint = joint_counts(label, a, b)
    assert Counts.from_matrix(run_a(joint)) == tally(label, a)
    assert Counts.from_matrix(run_b(joint)) == tally(label, b)
    assert (joint_counts_by_group(label, a, b, group, 3).sum(0) == joint).all()


@given(rows)
def test_flips_count_every_record_once_and_agree_with_the_rows(records):
    label, a, b, _ = np.array(records, dtype=np.int64).reshape(-1, 4).T
    found = flips(joint_counts(label, a, b))
    assert found["a_right_b_wrong"] == ((a == label) & (b != label)).sum()
    assert found["b_right_a_wrong"] == ((a != label) & (b == label)).sum()
    assert found["both_wrong_differently"] == ((a != label) & (b != label) & (a != b)).sum()
    assert found["parsed_in_a_only"] == ((a < 2) & (b == 2)).sum()
    parts = ("both_right", "a_right_b_wrong", "b_right_a_wrong", "both_wrong")
    assert sum(found[part] for part in parts) == len(records)


@given(rows)
def test_comparing_never_fails_and_never_holds_nan(records):
    label, a, b, _ = np.array(records, dtype=np.int64).reshape(-1, 4).T
    found = compare(joint_counts(label, a, b), replicates=50)
    assert "nan" not in repr(found)
    assert all(verdict(found, metric) for metric in found["metrics"])


def test_swapping_the_runs_turns_the_sign(close_runs):
    forth, back = compare(close_runs), compare(close_runs.transpose(0, 2, 1))
    for metric in forth["metrics"]:
        one, other = forth["metrics"][metric], back["metrics"][metric]
        assert one["difference"] == pytest.approx(-other["difference"])
        assert (one["a"], one["b"]) == (other["b"], other["a"])
        assert one["p"] == pytest.approx(other["p"], abs=0.02)
        assert one["low"] == pytest.approx(-other["high"], abs=0.003)


def test_difference_is_b_minus_a(close_runs):
    found = compare(close_runs)["metrics"]
    a, b = rates(Counts.from_matrix(run_a(close_runs))), rates(Counts.from_matrix(run_b(close_runs)))
    for metric in ("accuracy", "f1", "fpr", "fnr"):
        assert found[metric]["difference"] == pytest.approx(b[metric] - a[metric])


def test_permuting_counts_is_permuting_rows(close_runs):
    """Against a plain loop over records that swaps A and B by the toss of a coin."""
    rng = np.random.default_rng(0)
    cells = np.argwhere(close_runs).repeat(close_runs[close_runs > 0], axis=0)
    label, a, b = cells.T
    change = difference_of(BINARY["f1"])
    seen, as_far = abs(change(close_runs)), 0
    for _ in range(2_000):
        swap = rng.random(len(cells)) < 0.5
        permuted = joint_counts(label, np.where(swap, b, a), np.where(swap, a, b))
        as_far += abs(change(permuted)) >= seen - 1e-12
    p = permutation_p_values(close_runs, {"f1": change}, 10_000, seed=0)["f1"]
    assert p == pytest.approx((1 + as_far) / 2_001, abs=0.02)


def test_permutation_of_accuracy_agrees_with_exact_mcnemar(close_runs):
    p = permutation_p_values(close_runs, {"accuracy": difference_of(BINARY["accuracy"])}, 40_000, seed=1)
    assert p["accuracy"] == pytest.approx(compare(close_runs)["mcnemar"]["exact_p"], abs=0.005)


def test_permutation_holds_its_level():
    """Runs that do not differ are called different in at most about 5% of cases."""
    rng, share = np.random.default_rng(2), joint_of([[30, 6], [6, 15]], [[12, 5], [5, 40]]) / 119
    change = {"f1": difference_of(BINARY["f1"])}
    drawn = rng.multinomial(119, share.ravel(), size=500).reshape(-1, 2, 3, 3)
    p_values = [permutation_p_values(joint, change, 400, seed)["f1"] for seed, joint in enumerate(drawn)]
    assert np.mean([p < 0.05 for p in p_values]) < 0.07


def test_needed_records_give_the_power_asked_for():
    """At the forecast n the interval of the difference leaves out 0 in about 80% of data sets."""
    share = joint_of([[25, 5], [8, 10]], [[20, 7], [4, 21]]) / 100
    first = compare((share * 400).astype(int), replicates=10)["metrics"]["accuracy"]
    change = difference_of(BINARY["accuracy"])
    n = needed_records(first["difference"], first["standard_error"], 400)
    drawn = np.random.default_rng(3).multinomial(n, share.ravel(), size=1_000).reshape(-1, 2, 3, 3)
    seen = change(drawn)
    discordant = (drawn[:, 0, 0, 1] + drawn[:, 0, 1, 0] + drawn[:, 1, 0, 1] + drawn[:, 1, 1, 0]) / n
    error = np.sqrt((discordant - seen**2) / n)
    assert np.mean(np.abs(seen / error) > 1.96) == pytest.approx(0.8, abs=0.05)


def test_more_runs_tried_need_more_records_and_leave_less_significant(close_runs):
    alone = compare(close_runs, replicates=500)
    family = compare_cells({f"cell-{k}": close_runs for k in range(50)}, replicates=500)
    best = family["cell-0"]
    assert best["metrics"]["accuracy"]["needed_records"] > alone["metrics"]["accuracy"]["needed_records"]
    assert best["metrics"]["accuracy"]["p_holm"] == 1.0
    assert "corrected for the 50 runs tried" in verdict(best)


def test_the_best_of_50_equal_runs_is_no_discovery():
    rng, share = np.random.default_rng(4), joint_of([[30, 6], [6, 15]], [[12, 5], [5, 40]]) / 119
    runs = {str(k): rng.multinomial(1_009, share.ravel()).reshape(2, 3, 3) for k in range(50)}
    found = compare_cells(runs, replicates=2_000)
    p_values = [result["metrics"]["f1"]["p"] for result in found.values()]
    assert min(p_values) < 0.05, "one of fifty looks good alone: that is the trap"
    assert not any(is_significant(result, "f1") for result in found.values())


def test_verdict_on_noise(close_runs):
    sentence = verdict(compare(close_runs), "f1", "baseline", "r=64")
    assert sentence.startswith(
        "On 1,008 records the difference of 0.019 F1 between r=64 and baseline is within noise ("
    )
    assert "about 2,400 records would be needed to see it." in sentence


def test_verdict_on_a_difference(distant_runs):
    found = compare(distant_runs)
    assert "B is better than A: its F1 is 0.2" in verdict(found, "f1")
    assert "B is better than A: its FPR is 0.163 lower" in verdict(found, "fpr")
    assert "p < 0.001" in verdict(found, "fpr")
    worse = compare(distant_runs.transpose(0, 2, 1))
    assert "B is worse than A: its FPR is 0.163 higher" in verdict(worse, "fpr")


def test_verdict_on_what_is_undefined_or_equal():
    only_positives = compare(joint_of([[10, 2], [3, 5]], 0), replicates=100)
    assert "it is undefined for A and B" in verdict(only_positives, "fpr")
    same = compare(joint_of([[10, 0], [0, 5]], [[3, 0], [0, 7]]), replicates=100)
    assert "have the same F1 of 0.714" in verdict(same)
    assert same["metrics"]["f1"]["low"] < 0 < same["metrics"]["f1"]["high"]
    assert same["metrics"]["f1"]["needed_records"] is None


def test_no_record_in_common():
    found = compare(np.zeros((2, 3, 3), int))
    assert found["n"] == 0
    assert found["metrics"]["accuracy"]["p"] is None
    assert "cannot be compared" in verdict(found)
    assert compare_cells({}) == {}


def test_many_classes():
    rng = np.random.default_rng(5)
    label, a, b = rng.integers(0, 4, 300), rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    found = compare(joint_counts(label, a, b, num_classes=4), metrics=ANY_CLASSES, replicates=500)
    assert found["metrics"]["macro_f1"]["low"] < found["metrics"]["macro_f1"]["difference"]
    assert found["mcnemar"]["a_right_b_wrong"] == ((a == label) & (b != label)).sum()
