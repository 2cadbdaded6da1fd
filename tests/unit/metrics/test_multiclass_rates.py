"""Several classes, one against the rest, and the tie between the two- and the many-class metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sftlib.metrics.counts import Counts, rates, tally
from sftlib.metrics.multiclass import confusion_matrix, multiclass_rates, one_against_rest

NAMES = ["hate", "offensive", "normal"]


@given(arrays(np.int64, (2, 3), elements=st.integers(0, 50)))
def test_two_classes_give_the_binary_figures(matrix):
    many, binary = multiclass_rates(matrix, ["hate", "normal"]), rates(Counts.from_matrix(matrix))
    for name in ("n", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "parse_rate"):
        assert many[name] == binary[name], name
    assert many["classes"]["hate"]["f1"] == binary["f1"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=60), st.integers(0, 2))
def test_one_against_rest_is_recoding_the_rows(records, target):
    label, outcome = np.array(records, dtype=np.int64).reshape(-1, 2).T
    matrix = confusion_matrix(label, outcome, 3)
    recoded = np.where(outcome == 3, 2, (outcome != target).astype(int))
    assert one_against_rest(matrix, target) == tally((label != target).astype(int), recoded)
    assert matrix.sum() == len(records)


def test_unparsed_answers_are_shown_by_class():
    found = multiclass_rates([[5, 1, 0, 4], [0, 3, 1, 0], [0, 0, 6, 0]], NAMES)
    assert found["unparsed"] == 4
    assert found["classes"]["hate"] == {
        "support": 10, "predicted": 5, "hits": 5, "unparsed": 4, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3),
    }  # fmt: skip
    assert found["confusion"]["offensive"] == [0, 3, 1, 0]
    assert found["parse_rate"] == 0.8


def test_a_class_that_never_occurs_is_null_and_leaves_the_macro_mean():
    found = multiclass_rates([[5, 1, 0, 0], [2, 3, 0, 0], [0, 0, 0, 0]], NAMES)
    assert found["classes"]["normal"]["f1"] is None
    assert found["macro_f1"] == pytest.approx((10 / 13 + 6 / 9) / 2)
    assert found["balanced_accuracy"] is None


def test_a_matrix_without_the_unparsed_column_is_refused():
    with pytest.raises(ValueError, match=r"is \(3, 3\); expected \(3, 4\)"):
        multiclass_rates(np.eye(3), NAMES)
    with pytest.raises(ValueError, match="5 cells; expected 6"):
        Counts.from_matrix([1, 2, 3, 4, 5])
