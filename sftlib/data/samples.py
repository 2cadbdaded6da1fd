"""A record as the task sees it: id, messages to answer, the answer to learn, and what it is compared by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftlib.artifacts.records import Record, read_records
from sftlib.config.inputs import Split, detect_format, label_of, sample_ids
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError, InputError

Message = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One record, ready to be rendered."""

    id: str
    messages: list[Message]  # system and user turns, up to where the answer begins
    target: str | None  # the answer to learn; None where a test record has none
    gold: str | None = None  # the label (classification) or the reference text (generation)
    groups: dict[str, list[str]] = field(default_factory=dict)
    source: str | None = None
    original_label: str | None = None
    answer_fields: Message = field(default_factory=dict)  # of the answer's turn, beside its content (reasoning)


def samples_of(split: Split, config: SFTConfig) -> list[Sample]:
    """The samples of a split, in the order of its records."""
    ids = sample_ids(split.records, config.data.id_column)
    build = _builder(split.format)
    return [build(record, name, config) for record, name in zip(split.records, ids, strict=True)]


def format_of_training_data(config: SFTConfig) -> str | None:
    """What the first training record looks like, where data.format leaves it open; None where there is none."""
    if config.data.format != "auto":
        return config.data.format
    source = config.data.train
    if source is None or source.path is None:
        return None
    return detect_format(next(read_records(Path(source.path))).fields, config.data)


def target_text(label: str, config: SFTConfig) -> str:
    """What the model learns to say for a label; the evaluation parser is tested to read it back."""
    text = config.task.verbalizers.get(label, label)
    return text if config.task.target == "label" else json.dumps({config.task.json_key: text}, ensure_ascii=False)


def _labelled(record: Record, name: str, config: SFTConfig) -> Sample:
    label = label_of(record, config)
    user = _fill(config.prompt.user or "{" + config.data.text_column + "}", record, config)
    target = None if label is None else target_text(label, config)
    return Sample(name, _with_system(user, config), target, label, **_compared_by(record, config))


def _instruction(record: Record, name: str, config: SFTConfig) -> Sample:
    instruction = _text(record, config.data.instruction_column)
    further = config.data.input_column and record.fields.get(config.data.input_column)
    user = f"{instruction}\n\n{further}" if further else instruction
    messages = _with_system(user, config)
    if further:  # templates with sections of their own set the two apart
        messages[-1] |= {"instruction": instruction, "input": further}
    target = _text(record, config.data.output_column)
    return Sample(name, messages, target, target, **_compared_by(record, config))


def _prompt_completion(record: Record, name: str, config: SFTConfig) -> Sample:
    user, target = _text(record, config.data.prompt_column), _text(record, config.data.completion_column)
    return Sample(name, _with_system(user, config), target, target, **_compared_by(record, config))


def _messages(record: Record, name: str, config: SFTConfig) -> Sample:
    turns = record.fields[config.data.messages_column]
    well_formed = isinstance(turns, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in turns
    )
    if not well_formed or not turns or turns[-1]["role"] != "assistant":
        raise DataError(
            f"{record.place}: field {config.data.messages_column!r}: expected a list of "
            f'{{"role", "content"}} that ends with the assistant\'s turn'
        )
    *asked, answer = turns
    return Sample(
        name, asked, answer["content"], label_of(record, config) or answer["content"], **_compared_by(record, config)
    )


_BUILDERS: dict[str, Callable[[Record, str, SFTConfig], Sample]] = {
    "labelled": _labelled,
    "alpaca": _instruction,
    "columns": _instruction,
    "prompt_completion": _prompt_completion,
    "messages": _messages,
}


def _builder(fmt: str) -> Callable[[Record, str, SFTConfig], Sample]:
    if fmt not in _BUILDERS:
        raise InputError(f"data.format = {fmt!r} is not built yet; there are: {', '.join(_BUILDERS)}")
    return _BUILDERS[fmt]


def _text(record: Record, column: str) -> str:
    value = record.fields.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{record.place}: field {column!r} = {value!r}: expected text that is not empty")
    return value


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _fill(template: str, record: Record, config: SFTConfig) -> str:
    """Put the record's fields in a user template. Only `{name}` is replaced: JSON examples need no doubled braces."""
    values = {"text": record.fields.get(config.data.text_column, ""), **record.fields}
    if config.data.group_columns:
        values.setdefault("target_group", record.fields.get(config.data.group_columns[0], ""))

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            have = ", ".join(sorted(map(str, values)))
            raise InputError(f"prompt.user has {{{name}}}, but {record.place} has no such field; there are: {have}")
        return str(values[name])

    return _PLACEHOLDER.sub(value, template)


def _with_system(user: str, config: SFTConfig) -> list[Message]:
    system = [{"role": "system", "content": config.prompt.system}] if config.prompt.system is not None else []
    return [*system, {"role": "user", "content": user}]


def _compared_by(record: Record, config: SFTConfig) -> dict[str, Any]:
    data = config.data
    groups = {column: _values(record.fields.get(column)) for column in data.group_columns}
    return {
        "groups": groups,
        "source": _value(record, data.source_column),
        "original_label": _value(record, data.original_label_column),
    }


def _values(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _value(record: Record, column: str | None) -> str | None:
    value = record.fields.get(column) if column else None
    return None if value is None else str(value)
