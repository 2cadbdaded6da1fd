"""What a method says about one sample, before it becomes a row of a shard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A label or a text, with the scores behind it where there are any."""

    prediction: str | None  # the label, or the text of an open-ended task; None: unparsed
    reason: str | None = None  # why it is unparsed
    raw: str | None = None  # the model's own words
    label_logprobs: list[float] | None = None  # in the order of task.labels
    score: float | None = None  # probability of the positive label
    new_tokens: int = 0
