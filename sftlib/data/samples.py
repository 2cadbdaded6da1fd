"""A record as the task sees it: id, messages to answer, the answer to learn, and what it is compared by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sftlib.artifacts.records import Record
from sftlib.config.formats import Turn, input_of, label_of, prompt_and_completion, text_of, tools_of, turns_of
from sftlib.config.inputs import Split, sample_ids
from sftlib.config.placeholders import filled
from sftlib.config.tree import SFTConfig
from sftlib.config.values import is_missing, value_text
from sftlib.data.formatting import formatted
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
    tools: list[dict[str, Any]] = field(default_factory=list)  # that the model may call, for templates that show them


def samples_of(split: Split, config: SFTConfig) -> list[Sample]:
    """The samples of a split, in the order of its records."""
    ids = sample_ids(split.records, config.data.id_column)
    if split.format == "formatting_func":
        made = formatted(split.records, config)
    else:
        made = [(record, split.format) for record in split.records]
    return [_BUILDERS[fmt](record, name, config) for (record, fmt), name in zip(made, ids, strict=True)]


def target_text(label: str, config: SFTConfig) -> str:
    """What the model learns to say for a label; the evaluation parser is tested to read it back."""
    text = config.task.verbalizers.get(label, label)
    return text if config.task.target == "label" else json.dumps({config.task.json_key: text}, ensure_ascii=False)


def _labelled(record: Record, name: str, config: SFTConfig) -> Sample:
    label = label_of(record, config)
    user = _fill(config.prompt.user or "{text}", record, config)
    target = None if label is None else target_text(label, config)
    return Sample(name, _with_system(user, config), target, label, **_compared_by(record, config))


def _instruction(record: Record, name: str, config: SFTConfig) -> Sample:
    instruction, further = text_of(record, config.data.instruction_column), input_of(record, config)
    messages = _with_system(f"{instruction}\n\n{further}" if further else instruction, config)
    if further:  # templates with sections of their own set the two apart
        messages[-1] |= {"instruction": instruction, "input": further}
    target = text_of(record, config.data.output_column)
    return Sample(name, messages, target, target, **_compared_by(record, config))


def _prompt_completion(record: Record, name: str, config: SFTConfig) -> Sample:
    asked, answer = prompt_and_completion(record, config)
    return _conversation(record, name, config, asked, answer)


def _messages(record: Record, name: str, config: SFTConfig) -> Sample:
    *asked, answer = turns_of(record, "messages", config)
    return _conversation(record, name, config, asked, answer)


def _sharegpt(record: Record, name: str, config: SFTConfig) -> Sample:
    *asked, answer = turns_of(record, "sharegpt", config)
    return _conversation(record, name, config, asked, answer)


def _conversation(record: Record, name: str, config: SFTConfig, asked: list[Turn], answer: Turn) -> Sample:
    """A conversation's own system turn goes before the experiment's."""
    system = config.prompt.system
    if system is not None and not any(turn["role"] in ("system", "developer") for turn in asked):
        asked = [{"role": "system", "content": system}, *asked]
    further = {key: value for key, value in answer.items() if key not in ("role", "content")}
    gold = label_of(record, config) if config.data.label_column in record.fields else None
    return Sample(
        name, asked, answer["content"], gold or answer["content"], answer_fields=further, tools=tools_of(record),
        **_compared_by(record, config),
    )  # fmt: skip


def _text(record: Record, name: str, config: SFTConfig) -> Sample:
    """Text as it is: no prompt, all of it learnt."""
    return Sample(name, [], text_of(record, config.data.text_column), **_compared_by(record, config))


_BUILDERS: dict[str, Callable[[Record, str, SFTConfig], Sample]] = {
    "labelled": _labelled,
    "alpaca": _instruction,
    "columns": _instruction,
    "prompt_completion": _prompt_completion,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "text": _text,
}


def _fill(template: str, record: Record, config: SFTConfig) -> str:
    """Put the record's fields in a user template. Only `{name}` is replaced: JSON examples need no doubled braces."""
    values = {**record.fields, "text": record.fields.get(config.data.text_column, "")}
    if config.data.group_columns:
        values.setdefault("target_group", record.fields.get(config.data.group_columns[0]))

    def value(name: str) -> str:
        if name not in values:
            have = ", ".join(sorted(map(str, values)))
            raise InputError(f"prompt.user has {{{name}}}, but {record.place} has no such field; there are: {have}")
        found = values[name]
        if found is None or found == []:
            raise DataError(
                f"{record.place}: field {name!r} is {found!r}, and prompt.user has {{{name}}}: fill it, filter such "
                f"records (data.*.where), or take a prompt without it"
            )
        return ", ".join(map(value_text, found)) if isinstance(found, list) else value_text(found)

    return filled(template, values, value)


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
    return [value_text(item) for item in (value if isinstance(value, list) else [value]) if not is_missing(item)]


def _value(record: Record, column: str | None) -> str | None:
    value = record.fields.get(column) if column else None
    return None if is_missing(value) else value_text(value)
