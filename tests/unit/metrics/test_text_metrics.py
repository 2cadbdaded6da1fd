"""Open-ended answers: matches, ROUGE-L, lengths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.metrics.text import (
    common_subsequence_length,
    is_exact_match,
    is_normalised_match,
    length_statistics,
    rouge_l,
    text_metrics,
)

few_words = st.lists(st.sampled_from("abc"), max_size=12)


def by_table(left, right):
    """The longest common subsequence as textbooks have it."""
    row = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for place, other in enumerate(right, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]


@given(few_words, few_words)
def test_bits_and_table_find_the_same_length(left, right):
    assert common_subsequence_length(left, right) == by_table(left, right)


@given(st.text(max_size=40))
def test_a_text_matches_itself(text):
    assert is_exact_match(text, ["something else", text])
    assert is_normalised_match(text, [text])
    assert rouge_l(text, [text]) in (1.0, None)


def test_matches():
    assert is_exact_match(" Yes.\n", ["Yes."])
    assert not is_exact_match("yes", ["Yes."])
    assert is_normalised_match("  YES! ", ["yes."])
    assert is_normalised_match("Straße ①", ["STRASSE 1"])
    assert not is_normalised_match("an answer", ["answer"])


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("police kill the gunman", "police killed the gunman", 0.75),
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("", "something", 0.0),
        ("same words", "Same, words!", 1.0),
    ],
)
def test_rouge_l(prediction, reference, score):
    assert rouge_l(prediction, [reference]) == pytest.approx(score)


def test_the_best_reference_counts():
    assert rouge_l("a b c", ["x y", "a b d", "a b c"]) == 1.0
    assert rouge_l("?", ["!"]) is None
    assert rouge_l("a", []) is None


def test_all_together():
    found = text_metrics(
        ["Paris.", "", "The Nile river"],
        [["Paris", "paris."], ["Rome"], ["the Nile"]],
        stop_reasons=["stop", "length", "stop"],
        lengths_tokens=[2, 1, 4],
    )
    assert (found["n"], found["empty"], found["exact_match"]) == (3, 1, 0.0)
    assert found["normalised_match"] == pytest.approx(1 / 3)
    assert found["rouge_l"] == pytest.approx((1 + 0 + 0.8) / 3)
    assert found["stop_reasons"] == {"stop": 2, "length": 1}
    assert found["length_tokens"]["p50"] == 2.0
    assert found["length_words"] == {
        "mean": pytest.approx(4 / 3),
        "p5": 0.1,
        "p50": 1.0,
        "p95": pytest.approx(2.8),
        "max": 3.0,
    }


def test_no_answers():
    found = text_metrics([], [])
    assert (found["n"], found["exact_match"], found["rouge_l"], found["length_tokens"]) == (0, None, None, None)
    assert length_statistics([])["max"] is None
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        text_metrics(["a"], [["a"], ["b"]])
