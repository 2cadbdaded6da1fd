"""A format that names the class is found whatever it is; what only looks like one is not."""

from __future__ import annotations

import json
import random

import pytest

from sftlib.config.data import TaskSection
from sftlib.data.audit.giveaway import STRONG, strongest_rule

TASK = TaskSection(type="classification", labels=["hate", "normal"])
THREE = TaskSection(type="classification", labels=["a b", "b", "c"])


def targets(write, sizes: dict[str, int]) -> list[tuple[str, str]]:
    return [(label, write(label)) for label, count in sizes.items() for _ in range(count)]


@pytest.mark.parametrize(
    "write",
    [
        lambda label: ("{%s}" if label == "hate" else "{{%s}}") % json.dumps({"label": label})[1:-1],
        lambda label: label + ("." if label == "hate" else ""),
        lambda label: label + ("\n" if label == "hate" else ""),
        lambda label: (" " if label == "hate" else "") + label,
        lambda label: f"```json\n{label}\n```" if label == "hate" else label,
        lambda label: f'"{label}"' if label == "hate" else f"'{label}'",
        lambda label: f"answer: {label}" if label == "hate" else f"the answer is {label}",
    ],
)
@pytest.mark.parametrize("sizes", [{"hate": 500, "normal": 700}, {"hate": 40, "normal": 4000}])
def test_a_format_that_names_the_class(write, sizes) -> None:
    rule = strongest_rule(targets(write, sizes), TASK)
    assert rule is not None and rule.informedness >= STRONG


@pytest.mark.parametrize("count", [30, 300, 3000])
def test_formats_that_have_nothing_to_do_with_the_class(count: int) -> None:
    rng = random.Random(count)
    write = lambda label: rng.choice(["{%s}", '"%s"', "%s.", " %s", "%s\n"]) % label  # noqa: E731
    for _ in range(20):
        assert strongest_rule(targets(write, {"hate": count, "normal": 2 * count}), TASK) is None


def test_a_tendency_is_weaker_than_a_rule() -> None:
    rng = random.Random(0)
    write = lambda label: "{" * (1 + (rng.random() < (0.7 if label == "hate" else 0.2))) + label + "}"  # noqa: E731
    rule = strongest_rule(targets(write, {"hate": 1000, "normal": 1000}), TASK)
    assert rule is not None and 0.4 < rule.informedness < 0.6 and "brace" in rule.feature


def test_the_label_itself_and_its_words_are_no_feature() -> None:
    """One label has a blank in it, and is spelled with another label's letters."""
    assert (
        strongest_rule(targets(lambda label: json.dumps({"x": label}), {"a b": 100, "b": 100, "c": 100}), THREE) is None
    )


def test_an_explanation_may_be_longer_for_one_class() -> None:
    rng = random.Random(1)
    words = "the author of this post says that people are not welcome here at all".split()  # noqa: SIM905
    write = lambda label: " ".join(rng.choices(words, k=12 if label == "hate" else 5)) + f": {label}"  # noqa: E731
    assert strongest_rule(targets(write, {"hate": 300, "normal": 300}), TASK) is None


def test_too_few_of_a_class_say_nothing() -> None:
    assert (
        strongest_rule(targets(lambda label: label + "." * (label == "hate"), {"hate": 15, "normal": 400}), TASK)
        is None
    )
