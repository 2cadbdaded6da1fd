"""Standardisation takes composition out of a gap, and says what it could not use."""

import numpy as np
import pytest

from sftlib.metrics.counts import Counts, rates, total
from sftlib.metrics.standardise import standardised


def negatives(fp, tn):
    return Counts(fp=fp, tn=tn)


@pytest.fixture
def only_composition():
    """Both groups: FPR 0.40 in the hard source, 0.05 in the easy one. They differ in the mix alone."""
    return {
        ("lgbtq", "hard"): negatives(80, 120),
        ("lgbtq", "easy"): negatives(1, 19),
        ("mexican", "hard"): negatives(8, 12),
        ("mexican", "easy"): negatives(10, 190),
    }


def test_a_gap_that_is_composition_goes_away(only_composition):
    found = standardised(only_composition)["fpr"]
    assert found["crude_gap"] == pytest.approx(81 / 220 - 18 / 220)
    assert found["standardised_gap"] == pytest.approx(0, abs=1e-12)
    assert {group: row["standardised"] for group, row in found["groups"].items()} == pytest.approx(
        {"lgbtq": 0.225, "mexican": 0.225}
    )
    assert found["strata"] == [{"stratum": "hard", "weight": 0.5}, {"stratum": "easy", "weight": 0.5}]
    assert found["weight_lost"] == 0


def test_signed_differences_come_with_bounds(only_composition):
    (row,) = standardised(only_composition)["fpr"]["differences"]
    assert (row["a"], row["b"]) == ("lgbtq", "mexican")
    assert row["crude"] == pytest.approx(63 / 220)
    assert row["low"] < 0 < row["high"]


def test_a_stratum_of_one_group_is_left_out_and_its_weight_told(only_composition):
    counts = only_composition | {("mexican", "own"): negatives(30, 30)}
    found = standardised(counts)["fpr"]
    assert found["strata_left_out"] == ["own"]
    assert found["weight_lost"] == pytest.approx(60 / 500)
    assert found["groups"]["mexican"]["crude"] == pytest.approx(48 / 280)
    assert found["groups"]["mexican"]["common"] == pytest.approx(18 / 220)
    assert found["common_gap"] == pytest.approx(63 / 220)


def test_a_stratum_without_this_rates_records_is_not_lost(only_composition):
    """A stratum of an original label holds one class only: it has no part in the other class's rate."""
    counts = only_composition | {("lgbtq", "slur"): Counts(tp=5, fn=2), ("mexican", "slur"): Counts(tp=4, fn=4)}
    found = standardised(counts)
    assert found["fpr"]["weight_lost"] == 0
    assert found["fnr"]["strata"] == [{"stratum": "slur", "weight": 1.0}]
    assert found["fnr"]["groups"]["lgbtq"]["standardised"] == pytest.approx(2 / 7)


def test_one_stratum_changes_nothing(golden):
    found = standardised({(group, "all"): counts for group, counts in golden.items()})
    for group, counts in golden.items():
        alone = rates(counts)
        for rate in ("fpr", "fnr"):
            row = found[rate]["groups"][group]
            assert row["standardised"] == pytest.approx(alone[rate]) == row["crude"]
            assert (row["low"], row["high"]) == pytest.approx((alone[f"{rate}_low"], alone[f"{rate}_high"]))


def test_weights_of_ones_own(only_composition):
    found = standardised(only_composition, weights={"hard": 3, "easy": 1})["fpr"]
    assert found["groups"]["lgbtq"]["standardised"] == pytest.approx(0.75 * 0.4 + 0.25 * 0.05)
    with pytest.raises(ValueError, match=r"missing \['easy'\]"):
        standardised(only_composition, weights={"hard": 1})
    with pytest.raises(ValueError, match="0 or more"):
        standardised(only_composition, weights={"hard": -1, "easy": 1})


def test_groups_with_nothing_in_common_have_no_standardised_rate():
    found = standardised({("a", "x"): negatives(3, 5), ("b", "y"): negatives(1, 9)})["fpr"]
    assert (found["standardised_gap"], found["weight_lost"]) == (None, 1.0)
    assert found["crude_gap"] == pytest.approx(0.275)
    assert found["groups"]["a"]["low"] is None


def test_nothing():
    assert standardised({})["fpr"]["groups"] == {}
    assert standardised({("a", "x"): Counts()})["fnr"]["weight_lost"] is None


def test_bounds_cover():
    """2,000 data sets of two strata; the weights are fixed, as they are in a test set."""
    rng, truth, n = np.random.default_rng(0), np.array([0.4, 0.05]), np.array([86, 144])
    hits = rng.binomial(n, truth, size=(2_000, 2))
    inside = 0
    for hard, easy in hits.tolist():
        counts = {("a", "hard"): negatives(hard, 86 - hard), ("a", "easy"): negatives(easy, 144 - easy)}
        row = standardised(counts)["fpr"]["groups"]["a"]
        inside += row["low"] <= (n * truth).sum() / n.sum() <= row["high"]
    assert 0.935 <= inside / 2_000 <= 0.965


def test_pooled_weights_standardise_the_whole_to_itself(only_composition):
    """With one group the pooled mix is its own: the crude rate comes back."""
    alone = {key: counts for key, counts in only_composition.items() if key[0] == "lgbtq"}
    row = standardised(alone)["fpr"]["groups"]["lgbtq"]
    assert row["standardised"] == pytest.approx(rates(total(alone.values()))["fpr"])
