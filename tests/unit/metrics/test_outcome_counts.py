"""Counts and rates as properties: nothing gets lost, order does not matter, nothing is 0 that is undefined."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.metrics.counts import Counts, rates, rates_by_group, tally, tally_groups, total
from sftlib.metrics.fairness import disparities

cells = st.integers(0, 10**8)
counts = st.builds(Counts, cells, cells, cells, cells, cells, cells)
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3)), max_size=60)


def columns(records):
    return np.array(records, dtype=np.int64).reshape(-1, 3).T


@given(counts)
def test_cells_always_sum_to_n(counted):
    found = rates(counted)
    names = ("tp", "fn", "fp", "tn", "unparsed_positive", "unparsed_negative")
    assert sum(found[name] for name in names) == found["n"] == found["n_positive"] + found["n_negative"]


@given(counts)
def test_every_rate_is_a_share_or_null_and_lies_within_its_bounds(counted):
    found = rates(counted)
    for name, value in found.items():
        if isinstance(value, float):
            assert (-1 - 1e-9 if name == "mcc" else 0) <= value <= 1 + 1e-9, name
    for rate in ("fpr", "fnr"):
        if found[rate] is not None:
            assert found[f"{rate}_low"] <= found[rate] <= found[f"{rate}_high"]
            assert found[f"{rate}_bound_low"] <= found[rate] <= found[f"{rate}_bound_high"]


@given(rows, st.randoms())
def test_counting_does_not_depend_on_order(records, random):
    label, outcome, _ = columns(records)
    shuffled = list(records)
    random.shuffle(shuffled)
    label_again, outcome_again, _ = columns(shuffled)
    assert tally(label, outcome) == tally(label_again, outcome_again)


@given(rows, st.integers(1, 5))
def test_rates_of_merged_counts_are_the_rates_of_the_rows(records, num_shards):
    label, outcome, _ = columns(records)
    shards = [tally(label[i::num_shards], outcome[i::num_shards]) for i in range(num_shards)]
    assert rates(total(shards)) == rates(tally(label, outcome)) == rates(total(reversed(shards)))


@given(rows)
def test_one_pass_over_groups_equals_one_pass_per_group(records):
    label, outcome, group = columns(records)
    together = tally_groups(label, outcome, group, 4)
    for index, matrix in enumerate(together):
        assert Counts.from_matrix(matrix) == tally(label[group == index], outcome[group == index])


@given(st.dictionaries(st.text(max_size=3), counts, max_size=4))
def test_rates_by_group_are_those_of_each_group(groups):
    assert rates_by_group(groups) == {group: rates(counted) for group, counted in groups.items()}


@given(st.dictionaries(st.text(max_size=3), counts, max_size=4))
def test_disparities_never_fail_and_never_hold_nan(groups):
    found = disparities(groups)
    assert "nan" not in repr(found).replace("'nan'", "")


def test_nothing_at_all_gives_null_rates_and_zero_counts():
    found = rates(Counts())
    assert {value for value in found.values() if value is not None} == {0}
    assert found["fpr"] is None
    assert found["accuracy"] is None
    assert found["parse_rate"] is None


def test_a_group_without_negatives_has_no_fpr_rather_than_one_of_zero():
    found = rates(Counts(tp=3, fn=1))
    assert (found["fpr"], found["fpr_low"], found["fpr_bound_high"]) == (None, None, None)
    assert (found["fnr"], found["balanced_accuracy"], found["mcc"]) == (0.25, None, None)


def test_an_unparsed_positive_is_a_miss_in_recall_and_f1_but_not_in_fnr():
    found = rates(Counts(tp=6, fn=2, up=2, fp=2, tn=8))
    assert (found["recall"], found["fnr"]) == (0.6, 0.25)
    assert found["f1"] == 2 * 6 / (2 * 6 + 2 + 2 + 2)
    assert (found["fnr_bound_low"], found["fnr_bound_high"]) == (0.2, 0.4)


def test_an_unparsed_negative_is_wrong_in_accuracy_and_macro_f1_but_no_false_positive():
    without, found = rates(Counts(tp=8, fn=2, fp=2, tn=6)), rates(Counts(tp=8, fn=2, fp=2, tn=6, un=2))
    assert (found["fpr"], found["f1"], found["precision"]) == (without["fpr"], without["f1"], without["precision"])
    assert found["accuracy"] == 14 / 20
    assert found["macro_f1"] < without["macro_f1"]


def test_mcc_stays_undefined_at_a_hundred_million_records_of_one_prediction():
    assert rates(Counts(tp=50_000_001, fp=50_000_003))["mcc"] is None


def test_wrong_codes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="outcome codes run from 0 to 3; expected 0 to 2: recode"):
        tally([0, 1], [0, 3])
    with pytest.raises(ValueError, match="negative count"):
        Counts(tp=-1)
