"""What a method says about one sample, before it becomes a row of a shard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sftlib.config.data import TaskSection
from sftlib.data.parsing import ENGINE_ERROR


@dataclass(frozen=True)
class Answer:
    """A label or a text, with the scores behind it where there are any."""

    prediction: str | None  # the label, or the text of an open-ended task; None: unparsed
    reason: str | None = None  # why it is unparsed
    raw: str | None = None  # the model's own words
    label_logprobs: list[float] | None = None  # in the order of task.labels
    score: float | None = None  # probability of the positive label
    new_tokens: int = 0


FAILED = Answer(None, ENGINE_ERROR)  # the model gave numbers that are none, as after a training that diverged


def scored_answer(logprobs: list[float], task: TaskSection) -> Answer:
    """The likeliest label, with its scores; no label where they are no numbers: the first would win by its place."""
    if any(map(math.isnan, logprobs)) or not math.isfinite(max(logprobs)):
        return FAILED
    best = max(range(len(task.labels)), key=logprobs.__getitem__)
    score = positive_probability(logprobs, task.labels, task.positive)
    return Answer(task.labels[best], None, None, logprobs, score)


def positive_probability(logprobs: Sequence[float], labels: Sequence[str], positive: str | None) -> float | None:
    """The share of the positive label in the labels' probability."""
    if positive is None:
        return None
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return weights[labels.index(positive)] / sum(weights)
