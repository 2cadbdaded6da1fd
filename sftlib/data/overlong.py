"""Rows longer than train.max_length: counted by class and group, dropped, or their prompt cut; an answer is never cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer, TrainingRow
from sftlib.data.samples import Sample
from sftlib.errors import DataError

_MOST_VALUES = 5


@dataclass
class Overlong:
    """What was longer than the limit."""

    count: int = 0
    longest: int = 0
    by: dict[str, Counter[str]] = field(default_factory=dict)  # "label" or a group column -> value -> how many

    def add(self, sample: Sample, length: int, config: SFTConfig) -> None:
        self.count += 1
        self.longest = max(self.longest, length)
        values = dict(sample.groups)
        if config.task.type == "classification" and sample.gold is not None:
            values = {"label": [sample.gold], **values}
        for column, found in values.items():
            self.by.setdefault(column, Counter()).update(found)

    def merge(self, other: Overlong) -> None:
        self.count += other.count
        self.longest = max(self.longest, other.longest)
        for column, counts in other.by.items():
            self.by.setdefault(column, Counter()).update(counts)

    def refusal(self, where: str, records: int, limit: int) -> DataError:
        """The error of policy `error`: what a cut would have done, and to whom."""
        lines = [f"{column} {_most(counts)}" for column, counts in self.by.items()]
        told = "; ".join([*lines, f"the longest has {self.longest}"])
        return DataError(
            f"{where}: {self.count} of {records} records are longer than train.max_length = {limit} tokens ({told}): "
            f"raise train.max_length, or set train.overlong to drop or truncate_prompt"
        )


def _most(counts: Counter[str]) -> str:
    more = f", {len(counts) - _MOST_VALUES} more" if len(counts) > _MOST_VALUES else ""
    return ", ".join(f"{value[:40]}: {count}" for value, count in counts.most_common(_MOST_VALUES)) + more


def cut_prompt(renderer: Renderer, sample: Sample, row: TrainingRow, limit: int, place: str) -> TrainingRow:
    """The row with tokens taken out of its prompt: the head (BOS, system prompt, opening of the first turn, instruction
    before the first placeholder) stays, and so do the end of the prompt and the whole answer."""
    prompt = renderer.prompt(sample).ids
    head, answer = _head(renderer, sample, prompt), len(row.ids) - len(prompt)
    if head + answer > limit:
        raise DataError(
            f"{place}: the head of its prompt ({head} tokens: system prompt and what opens the turn) and its "
            f"answer ({answer} tokens) do not fit in train.max_length = {limit}, and neither is ever cut: raise "
            f"train.max_length, or set train.overlong to drop"
        )
    behind = head + len(row.ids) - limit
    return TrainingRow(row.ids[:head] + row.ids[behind:], row.labels[:head] + row.labels[behind:])


def _head(renderer: Renderer, sample: Sample, prompt: list[int]) -> int:
    """Tokens that the prompt shares with prompts of the same system turns and instruction on other texts."""
    system = [turn for turn in sample.messages if turn["role"] == "system"]
    if not sample.messages or system == sample.messages:
        return 0
    instruction = (renderer.config.prompt.user or "{").partition("{")[0]
    turns = [[*system, {"role": "user", "content": instruction + text}] for text in "?9"]
    others = [renderer.prompt(Sample("", asked, None)).ids for asked in turns]
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(prompt, *others, strict=False)))
