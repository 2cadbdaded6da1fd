"""How long rows will be, before any tokenizer is loaded: characters of records and prompt, four to a token."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sftlib.config.batching import MIN_SHARED, WORTH
from sftlib.config.tree import SFTConfig

CHARACTERS_A_TOKEN = 4.0
_TURN_TOKENS, _OPENING_TOKENS = 5, 3  # what a chat template puts around a turn, and of it before the turn's text
# What other templates put around question and answer, and how much of it before the question.
_AROUND = {"plain": (1, 0), "instruction": (10, 4), "alpaca": (42, 36), "harmony": (80, 68)}


@dataclass(frozen=True)
class Lengths:
    """Tokens of the records of a split, as far as their characters tell."""

    mean: float
    longest: int
    mean_answer: float
    shared: int = 0  # tokens that every prompt begins with
    around: tuple[int, int] = (0, 0)  # the template's in a row, and before the question: these are no characters

    def ratio_to(self, counted: float) -> float | None:
        """How many times as many tokens to a character there are where a record has `counted` of them."""
        fixed, _ = self.around
        return (counted - fixed) / (self.mean - fixed) if min(counted, self.mean) > fixed else None

    def scaled(self, ratio: float) -> Lengths:
        """With `ratio` times as many tokens to a character."""
        fixed, before = self.around
        mean, longest = (fixed + (tokens - fixed) * ratio for tokens in (self.mean, self.longest))
        shared = round(before + (self.shared - before) * ratio)
        return Lengths(mean, math.ceil(longest), max(1.0, self.mean_answer * ratio), shared, self.around)


def estimate_lengths(config: SFTConfig, records: Iterable[Any], data_format: str) -> Lengths | None:
    """Lengths of rows made from these records; None where there is none."""
    around = _around(config)
    counted = [(asked + around[0], answer) for asked, answer in
               (_row(record.fields, config, data_format) for record in records)]  # fmt: skip
    if not counted:
        return None
    limit = config.train.max_length
    totals = [min(limit, asked + answer) for asked, answer in counted]
    answers = sum(answer for _, answer in counted) / len(counted)
    shared = min(_shared(config, data_format), *totals)  # a limit may cut the beginning itself
    return Lengths(sum(totals) / len(totals), max(totals), answers, shared, around)


def _shared(config: SFTConfig, data_format: str) -> int:
    """The system prompt, and the user template up to its first field."""
    before = (config.prompt.user or "").partition("{")[0] if data_format == "labelled" else ""
    return _tokens(len(config.prompt.system or "") + len(before)) + _around(config)[1]


def _around(config: SFTConfig) -> tuple[int, int]:
    """Tokens of the template in a row, and those of them that stand before the question."""
    turns = 3 if config.prompt.system else 2
    chat = turns * _TURN_TOKENS, (turns - 2) * _TURN_TOKENS + _OPENING_TOKENS
    return _AROUND.get(config.prompt.template, chat)


def computed_share(config: SFTConfig, lengths: Lengths) -> float:
    """Of a record's tokens, how many are computed: fewer where the records of a step stand behind one copy of their
    beginning, which a training chooses by the same measure."""
    train, attention = config.train, config.model.attention
    if train.shared_prefix == "off" or train.layout == "padded" or attention.startswith("flash_attention"):
        return 1.0
    if lengths.shared < MIN_SHARED:
        return 1.0
    records = train.batch_size * train.gradient_accumulation
    share = 1 - lengths.shared / lengths.mean * (1 - 1 / records)
    return share if train.shared_prefix == "on" or share * WORTH <= 1 else 1.0


def _row(fields: dict[str, Any], config: SFTConfig, data_format: str) -> tuple[int, int]:
    """(prompt tokens, answer tokens) of one record."""
    asked, answer = _CHARACTERS.get(data_format, _of_text)(fields, config)
    asked += len(config.prompt.system or "")
    return _tokens(asked), _tokens(answer) + 1


def _tokens(characters: int) -> int:
    return round(characters / CHARACTERS_A_TOKEN)


def _of_text(fields: dict[str, Any], config: SFTConfig) -> tuple[int, int]:
    return 0, _characters(fields.get(config.data.text_column))


def _of_label(fields: dict[str, Any], config: SFTConfig) -> tuple[int, int]:
    around = len((config.prompt.user or "{text}").replace("{text}", ""))
    object_ = len(config.task.json_key) + 8 if config.task.target == "json" else 0
    return around + _characters(fields.get(config.data.text_column)), object_ + _characters(
        fields.get(config.data.label_column)
    )


def _of_columns(fields: dict[str, Any], config: SFTConfig) -> tuple[int, int]:
    data = config.data
    asked = _characters(fields.get(data.instruction_column)) + _characters(fields.get(data.input_column or ""))
    return asked, _characters(fields.get(data.output_column))


def _of_pair(fields: dict[str, Any], config: SFTConfig) -> tuple[int, int]:
    return _characters(fields.get(config.data.prompt_column)), _characters(fields.get(config.data.completion_column))


def _of_turns(fields: dict[str, Any], config: SFTConfig) -> tuple[int, int]:
    turns = fields.get(config.data.messages_column) or fields.get(config.data.conversations_column) or []
    sizes = [_characters(turn) for turn in turns]
    return sum(sizes[:-1]) + 16 * len(sizes), sizes[-1] if sizes else 0


def _characters(value: Any) -> int:
    """Of a text, or of the texts in turns."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_characters(item) for item in value)
    if isinstance(value, dict):
        return _characters(value.get("content", value.get("value")))
    return 0


_CHARACTERS = {
    "labelled": _of_label, "alpaca": _of_columns, "columns": _of_columns, "prompt_completion": _of_pair,
    "messages": _of_turns, "sharegpt": _of_turns,
}  # fmt: skip
