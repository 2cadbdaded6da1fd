"""1,000 random tables of three groups against fairlearn, wherever every denominator has records. Where one is empty
fairlearn says 0.0; ours says None, names the group, and leaves it out."""

import fairlearn.metrics as fl
import numpy as np
import pandas as pd
import pytest

from sftlib.metrics.counts import Counts, rates
from sftlib.metrics.fairness import disparities, summary_gaps

NUM_TABLES = 1_000
NAMES = ["a", "b", "c"]
RATES = {
    "selection_rate": fl.selection_rate,
    "fpr": fl.false_positive_rate,
    "tpr": fl.true_positive_rate,
}


def group_counts(tables):
    return {name: Counts(tp=m[0, 0], fn=m[0, 1], fp=m[1, 0], tn=m[1, 1]) for name, m in zip(NAMES, tables, strict=True)}


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 6, size=(NUM_TABLES, len(NAMES), 2, 2))
    drawn[rng.random(drawn.shape[:3]) < 0.08] = 0  # a group without positives or without negatives
    return drawn


@pytest.fixture(scope="module")
def frame(tables):
    """All tables in one MetricFrame, with the table as control feature: one by one it would take minutes."""
    table, group, label, outcome = (np.repeat(axis.ravel(), tables.ravel()) for axis in np.indices(tables.shape))
    return fl.MetricFrame(
        metrics=RATES,
        y_true=1 - label,
        y_pred=1 - outcome,
        sensitive_features=pd.Series(np.array(NAMES)[group], name="group"),
        control_features=pd.Series(table, name="table"),
    )


def test_rates_of_each_group(tables, frame):
    by_group = frame.by_group
    empty_denominators = 0
    for index, drawn in enumerate(tables):
        for name, counts in group_counts(drawn).items():
            found = rates(counts)
            if counts.n == 0:
                assert found["selection_rate"] is None
                continue
            theirs = by_group.loc[(index, name)]
            assert found["selection_rate"] == pytest.approx(theirs["selection_rate"])
            empty_denominators += found["fpr"] is None
            assert (found["fpr"] or 0.0) == pytest.approx(theirs["fpr"])
            assert (0.0 if found["fnr"] is None else 1 - found["fnr"]) == pytest.approx(theirs["tpr"])
    assert empty_denominators > 100, "the tables must show where we differ from fairlearn"


def test_ranges_and_ratios_over_groups(tables, frame):
    difference, ratio = frame.difference(), frame.ratio()
    compared = 0
    for index, drawn in enumerate(tables):
        found = summary_gaps(group_counts(drawn))
        if not drawn.sum(-1).all():  # some group lacks a class: theirs takes the made-up 0.0 for a minimum
            continue
        compared += 1
        gaps, shares = difference.loc[index], ratio.loc[index]
        assert found["demographic_parity_difference"] == pytest.approx(gaps["selection_rate"])
        assert found["equalized_odds_difference"] == pytest.approx(max(gaps["tpr"], gaps["fpr"]))
        assert found["equalized_odds_difference_mean"] == pytest.approx((gaps["tpr"] + gaps["fpr"]) / 2)
        assert found["equal_opportunity_difference"] == pytest.approx(gaps["tpr"])
        odds = (shares["tpr"], shares["fpr"])
        assert found["equalized_odds_ratio"] == (None if np.isnan(odds).any() else pytest.approx(min(odds)))
    assert compared > 300


def test_named_metrics_of_fairlearn_on_the_golden_counts(golden):
    parts = [(name, 1 - row, 1 - column, n) for name, counts in golden.items()
             for (row, column), n in np.ndenumerate(counts.matrix())]  # fmt: skip
    group, label, outcome = (np.repeat([part[k] for part in parts], [part[3] for part in parts]) for k in range(3))
    found = disparities(golden)
    for name in (
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "equalized_odds_difference",
        "equalized_odds_ratio",
        "equal_opportunity_difference",
    ):
        theirs = getattr(fl, name)(label, outcome, sensitive_features=group)
        assert found[name] == pytest.approx(theirs), name


def test_groups_without_a_denominator_are_named_and_left_out():
    groups = {"a": Counts(tp=3, fn=1, fp=1, tn=1), "b": Counts(tp=1, fn=1), "c": Counts(tp=1, fn=1, fp=1, tn=3)}
    found = disparities(groups)
    assert found["undefined"] == {"fpr": ["b"], "fnr": [], "selection_rate": []}
    assert found["equalized_odds_difference"] == 0.25
    assert found["ratios"]["b"]["fpr"] is None
    assert set(found["small_groups"]) == {"a", "b", "c"}


def test_a_range_over_one_group_is_null():
    assert set(summary_gaps({"a": Counts(tp=3, fn=1, fp=1, tn=1)}).values()) == {None}
    assert set(summary_gaps({}).values()) == {None}


def test_overlapping_groups_are_marked_and_use_the_overall_given(golden):
    whole = Counts(tp=200, fn=120, fp=120, tn=260)
    found = disparities(golden, overall=whole)
    assert not found["independent"]
    assert disparities(golden)["independent"]
    distance = sum(abs(120 / 380 - rates(counts)["fpr"]) for counts in golden.values())
    assert found["fped"] == pytest.approx(distance)


def test_an_unknown_reference_group_lists_the_groups(golden):
    with pytest.raises(ValueError, match="'women' is not in the data; expected one of"):
        disparities(golden, reference="women")
    assert disparities(golden, reference="mexican")["ratios"]["lgbtq"]["fpr"] == pytest.approx(
        0.430341 / 0.081395, rel=1e-4
    )
