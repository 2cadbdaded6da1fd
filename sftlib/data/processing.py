"""A split as rows of token ids and labels, with what was dropped and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sftlib.config.inputs import Split
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import IGNORED, Renderer, TrainingRow
from sftlib.data.rows import Rows
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError


class SFTDatasetProcessor:
    """Turns the splits of one experiment into rows, with one tokenizer and one template."""

    def __init__(self, config: SFTConfig, tokenizer: Any) -> None:
        self.config = config
        self.renderer = Renderer(config, tokenizer)

    def rows(self, split: Split) -> Rows:
        """The rows of a split; what is longer than train.max_length is treated as train.overlong says."""
        samples = samples_of(split, self.config)
        rendered = self.renderer.rows(samples)
        limit = self.config.train.max_length
        long = [sample for sample, row in zip(samples, rendered, strict=True) if len(row.ids) > limit]
        if not long:
            return Rows.of(rendered, dict(split.dropped))
        return self._shortened(rendered, long, split)

    def _shortened(self, rendered: list[TrainingRow], long: list[Sample], split: Split) -> Rows:
        limit, policy = self.config.train.max_length, self.config.train.overlong
        if policy == "error":
            raise DataError(_too_long(long, split, limit, max(len(row.ids) for row in rendered)))
        if policy == "truncate_prompt":
            return Rows.of([_cut_prompt(row, limit) for row in rendered], dict(split.dropped))
        kept = [row for row in rendered if len(row.ids) <= limit]
        return Rows.of(kept, {**split.dropped, f"longer than {limit} tokens": len(rendered) - len(kept)})


def _too_long(long: list[Sample], split: Split, limit: int, longest: int) -> str:
    by_label = ", ".join(
        f"{label}: {count}" for label, count in Counter(str(sample.gold)[:40] for sample in long).most_common(5)
    )
    return (
        f"{split.source.path}: {len(long)} of {len(split)} records are longer than train.max_length = {limit} tokens "
        f"({by_label}; the longest has {longest}): raise train.max_length, or set train.overlong to drop or truncate_prompt"
    )


def _cut_prompt(row: TrainingRow, limit: int) -> TrainingRow:
    """Take tokens from the prompt's start; the answer is kept whole."""
    over = len(row.ids) - limit
    if over <= 0:
        return row
    answer = sum(label != IGNORED for label in row.labels)
    if answer >= limit:
        raise DataError(f"an answer of {answer} tokens does not fit in train.max_length = {limit}: raise it")
    return TrainingRow(row.ids[over:], row.labels[over:])
