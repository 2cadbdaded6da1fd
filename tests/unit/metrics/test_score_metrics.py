"""Scores: histograms that merge to the same bits, close to the exact figures; thresholds that carry over to test."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.metrics.calibration import calibration_metrics, calibration_metrics_of_histogram
from sftlib.metrics.ranking import (
    auroc,
    auroc_interval,
    average_precision,
    bias_aucs,
    binned_average_precision,
    generalised_mean,
    tables_by_group,
)
from sftlib.metrics.scores import (
    ScoreHistogram,
    bin_index,
    column_bins,
    column_index,
    group_tables,
    num_columns,
    score_histogram,
    tied_table,
)
from sftlib.metrics.thresholds import apply_threshold, fit_histogram_threshold, fit_threshold

scored = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=50)


def columns(records):
    return np.array([label for label, _ in records], int), np.array([score for _, score in records], float)


def equal(one: ScoreHistogram, other: ScoreHistogram) -> bool:
    return (
        (one.counts == other.counts).all()
        and (one.score_sums == other.score_sums).all()
        and (one.square_error_sum, one.log_loss_sum) == (other.square_error_sum, other.log_loss_sum)
    )


@pytest.fixture(scope="module")
def many():
    """200,000 records whose scores crowd at 0 and 1, as those of a language model do."""
    rng = np.random.default_rng(0)
    label = (rng.random(200_000) < 0.6).astype(int)
    return label, 1 / (1 + np.exp(-rng.normal(2.0 - 3.5 * label, 3.0)))


@given(scored, st.integers(1, 6), st.randoms())
def test_merging_shards_gives_the_bits_of_the_whole_in_any_order(records, num_shards, random):
    label, p = columns(records)
    shards = [score_histogram(label[i::num_shards], p[i::num_shards], 20) for i in range(num_shards)]
    random.shuffle(shards)
    assert equal(reduce(add, shards), score_histogram(label, p, 20))


def test_histograms_of_different_bins_do_not_add():
    with pytest.raises(ValueError, match="10 and 20 bins cannot be added"):
        score_histogram([0], [0.5], 10) + score_histogram([0], [0.5], 20)


def test_calibration_of_a_histogram_is_exact(many):
    label, p = many
    exact, merged = calibration_metrics(label, p), calibration_metrics_of_histogram(score_histogram(label, p))
    for name in ("brier", "log_loss", "ece"):
        assert merged[name] == pytest.approx(exact[name], abs=4e-9), name
    assert [row["n"] for row in merged["reliability"]] == [row["n"] for row in exact["reliability"]]


def test_ranking_of_a_histogram_is_near_the_exact_one(many):
    label, p = many
    exact, binned = tied_table(label, p)[1], score_histogram(label, p).counts
    assert auroc(binned) == pytest.approx(auroc(exact), abs=1e-5)
    assert binned_average_precision(binned) == pytest.approx(average_precision(exact), abs=1e-4)


def test_certain_scores_keep_their_order_in_a_histogram():
    """Equal bins alone would call these all tied: AUROC 0.5."""
    p = np.array([1e-4, 1e-6, 1e-9, 1e-12, 1 - 1e-4, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12])
    label = np.array([0, 0, 1, 1, 1, 1, 0, 0])
    for part in (slice(0, 4), slice(4, 8)):
        assert auroc(score_histogram(label[part], p[part]).counts) == 1.0


@pytest.mark.parametrize("bins", [2, 10, 1_000])
def test_columns_ascend_with_the_score_and_keep_to_their_equal_bin(bins):
    rng = np.random.default_rng(3)
    p = np.sort(np.concatenate([[0.0, 1e-300, 1.0, 1 - 1e-16], rng.random(2_000), 10.0 ** rng.uniform(-20, 0, 2_000)]))
    column = column_index(p, bins)
    assert (np.diff(column) >= 0).all()
    assert (column_bins(bins)[column] == bin_index(p, bins)).all()
    assert (column[0], column[-1]) == (0, num_columns(bins) - 1)


def test_tables_of_all_groups_in_one_pass(many):
    label, p = (column[:5_000] for column in many)
    group = np.random.default_rng(4).integers(0, 3, label.size)
    tables = group_tables(label, column_index(p, 1_000), group, 3)
    for index, table in enumerate(tables):
        assert (table == score_histogram(label[group == index], p[group == index]).counts).all()


def test_ece_bins_must_divide_the_histogram():
    with pytest.raises(ValueError, match="7 ECE bins do not divide 1000"):
        calibration_metrics_of_histogram(score_histogram([0], [0.5]), 7)


@pytest.mark.parametrize("bins", [2, 5, 10, 20])  # with 50, 0.58 * 50 is 28.999999999999996
def test_scores_on_the_edges_fall_into_the_same_ece_bin_either_way(bins):
    p = np.arange(bins + 1) / bins
    label = np.arange(bins + 1) % 2
    exact = calibration_metrics(label, p, bins)
    assert calibration_metrics_of_histogram(score_histogram(label, p), bins)["ece"] == pytest.approx(exact["ece"])


def test_an_empty_set_has_no_calibration():
    assert calibration_metrics([], [])["ece"] is None
    assert calibration_metrics_of_histogram(score_histogram([], []))["brier"] is None


def test_a_certain_mistake_has_a_finite_loss():
    assert calibration_metrics([0], [0.0])["log_loss"] == pytest.approx(34.54, abs=0.01)


@given(scored)
def test_auroc_turns_over_with_the_scores(records):
    label, p = columns(records)
    up, down = auroc(tied_table(label, p)[1]), auroc(tied_table(label, -p)[1])
    assert (up is None and down is None) or up + down == pytest.approx(1)


def test_auroc_interval_covers():
    rng, hits = np.random.default_rng(1), 0
    truth = 0.7602499  # P(Z > -1/sqrt 2) for two normals one standard deviation apart
    for _ in range(1_000):
        label = np.repeat([0, 1], [60, 90])
        low, high = auroc_interval(tied_table(label, rng.normal(1.0 - label))[1])
        hits += low <= truth <= high
    assert 0.93 <= hits / 1_000 <= 0.97


def test_auroc_interval_of_a_perfect_order_is_not_given():
    assert auroc_interval(tied_table([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1])[1]) == (None, None)


def test_bias_aucs_of_histograms_are_near_those_of_rows(many):
    label, p = (column[:20_000] for column in many)
    rng = np.random.default_rng(2)
    members = {name: rng.random(label.size) < share for name, share in (("a", 0.5), ("b", 0.3), ("c", 0.01))}
    overall, tables = tables_by_group(label, p, members)
    exact = bias_aucs(overall, tables)
    histograms = {name: score_histogram(label[mask], p[mask]).counts for name, mask in members.items()}
    binned = bias_aucs(score_histogram(label, p).counts, histograms)
    for name, aucs in exact["groups"].items():
        assert binned["groups"][name] == pytest.approx(aucs, abs=1e-3)
        inside, outside = members[name], ~members[name]
        chosen = (outside & (label == 0)) | (inside & (label == 1))
        assert aucs["bpsn"] == pytest.approx(auroc(tied_table(label[chosen], p[chosen])[1]))
        chosen = (outside & (label == 1)) | (inside & (label == 0))
        assert aucs["bnsp"] == pytest.approx(auroc(tied_table(label[chosen], p[chosen])[1]))


def test_bias_aucs_of_a_group_of_one_class_or_none():
    overall, tables = tables_by_group([0, 1, 0, 1], [0.9, 0.1, 0.8, 0.7], {"one": [1, 0, 1, 0], "none": [0, 0, 0, 0]})
    found = bias_aucs(overall, tables)
    assert found["groups"]["one"] == {"subgroup": None, "bpsn": None, "bnsp": 1.0}
    assert found["groups"]["none"] == {"subgroup": None, "bpsn": None, "bnsp": None}
    assert found["generalised_mean"] == {"subgroup": None, "bpsn": None, "bnsp": 1.0}


def test_the_background_must_hold_the_group():
    with pytest.raises(ValueError, match="pass the overall table"):
        bias_aucs(np.ones((2, 4), int), {"a": 2 * np.ones((2, 4), int)})


def test_generalised_mean_of_a_zero_is_zero():
    assert generalised_mean([0.0, 0.9]) == 0.0
    assert generalised_mean([0.8, 0.8]) == pytest.approx(0.8)
    assert generalised_mean([0.5, 0.9]) < 0.7


@given(scored.filter(lambda records: any(label == 0 for label, _ in records)))
def test_no_other_threshold_is_better_on_the_data_it_was_fitted_on(records):
    label, p = columns(records)
    best = fit_threshold(label, p)
    assert apply_threshold(label, p, best.threshold) == best.counts

    def f1(threshold):
        counted = apply_threshold(label, p, threshold)
        return 2 * counted.tp / (2 * counted.tp + counted.fp + counted.fn)

    assert best.value == pytest.approx(f1(best.threshold))
    assert all(f1(other) <= best.value + 1e-9 for other in [*p, 0.0, 1.0])


def test_threshold_of_a_histogram(many):
    label, p = many
    histogram = score_histogram(label, p)
    for objective in ("f1", "youden"):
        exact, binned = fit_threshold(label, p, objective), fit_histogram_threshold(histogram, objective)
        assert binned.value == pytest.approx(exact.value, abs=1e-3)
        assert histogram.counts_at(binned.threshold) == binned.counts
        assert apply_threshold(label, p, binned.threshold) == binned.counts


def test_equally_good_thresholds_resolve_to_the_one_nearest_a_half():
    assert fit_threshold([1, 1, 0], [0.1, 0.2, 0.4], "youden").threshold == 0.4
    assert fit_histogram_threshold(score_histogram([1, 0], [0.05, 0.95], 10)).threshold == 0.5


def test_no_positives_no_threshold():
    assert fit_threshold([1, 1], [0.3, 0.4]).threshold is None
    assert fit_threshold([], []).threshold is None
    assert fit_threshold([0, 0], [0.3, 0.4], "youden").threshold is None
    with pytest.raises(ValueError, match="objective is 'recall'; expected one of"):
        fit_threshold([0], [0.3], "recall")


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5, np.nan], "1 of 2 scores are missing"),
        ([0, 1], [0.5, 1.5], "put logits through the logistic function"),
        ([0, 1], [0.5], "2 labels for 1 scores"),
        ([0, 2], [0.5, 0.5], "label codes run from 0 to 2"),
    ],
)
def test_wrong_scores_are_refused_with_the_remedy(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        score_histogram(labels, scores)
