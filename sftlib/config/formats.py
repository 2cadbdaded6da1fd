"""The formats of records: which fields each needs, how it is recognised, and what each field must hold. The plan checks
every record with the functions that the data stage then reads it by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from sftlib.artifacts.records import Record
from sftlib.config.data import DataSection
from sftlib.config.problems import did_you_mean
from sftlib.config.tree import SFTConfig
from sftlib.config.values import is_missing, value_text
from sftlib.errors import DataError

Turn = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool")
# How conversations elsewhere call their speakers.
_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
             "bing": "assistant", "user": "user", "assistant": "assistant", "system": "system", "tool": "tool",
             "function_response": "tool", "observation": "tool"}  # fmt: skip
_FROM, _VALUE = ("from", "role"), ("value", "content")


def needed_fields(data: DataSection) -> dict[str, set[str]]:
    """Format -> the fields that a record of it must have; in the order in which formats are tried."""
    return {
        "messages": {data.messages_column},
        "sharegpt": {data.conversations_column},
        "prompt_completion": {data.prompt_column, data.completion_column},
        "alpaca": {data.instruction_column, data.output_column},
        "columns": {data.instruction_column, data.output_column},
        "labelled": {data.text_column, data.label_column},
        "text": {data.text_column},
    }


def detect_format(fields: Iterable[str], data: DataSection) -> str:
    """The format that the fields of a record speak for; raises DataError when none does."""
    names = set(fields)
    for name, needed in needed_fields(data).items():
        if needed <= names:
            return "columns" if name == "alpaca" and _are_renamed(data) else name
    expected = "; ".join(f"{name}: {', '.join(sorted(needed))}" for name, needed in needed_fields(data).items())
    raise DataError(
        f"no format fits the fields {', '.join(sorted(names)) or '(none)'}. Expected for {expected}. Set data.format"
    )


def _are_renamed(data: DataSection) -> bool:
    return (data.instruction_column, data.output_column) != ("instruction", "output")


_CONVERSATIONS = ("messages", "sharegpt", "prompt_completion")


def check_record(record: Record, fmt: str, config: SFTConfig) -> None:
    """Raise DataError, with place and field, when the record is not what its format says."""
    data = config.data
    for column in sorted(needed_fields(data).get(fmt, set()) | ({data.id_column} if data.id_column else set())):
        require(record, column, fmt)
    if check := _CHECKS.get(fmt):
        check(record, config)
    if fmt in _CONVERSATIONS:
        tools_of(record)


def require(record: Record, column: str, fmt: str) -> None:
    if column not in record.fields:
        hint = did_you_mean(column, map(str, record.fields))
        raise DataError(f"{record.place}: field {column!r} is missing (format {fmt}){hint}")


def text_of(record: Record, column: str) -> str:
    """A field that must hold text."""
    value = record.fields.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{record.place}: field {column!r} = {_shown(value)}: expected text that is not empty")
    return value


def input_of(record: Record, config: SFTConfig) -> str | None:
    """The optional input of an instruction; empty and null are none."""
    column = config.data.input_column
    value = record.fields.get(column) if column else None
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DataError(f"{record.place}: field {column!r} = {_shown(value)}: expected text, or nothing")
    return value if value.strip() else None


def turns_of(record: Record, fmt: str, config: SFTConfig) -> list[Turn]:
    """The turns of a conversation (formats messages and sharegpt); the last one is the answer."""
    column = config.data.messages_column if fmt == "messages" else config.data.conversations_column
    turns = checked_turns(record, column, fmt)
    system = record.fields.get("system") if fmt == "sharegpt" else None
    if isinstance(system, str) and system.strip() and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]  # ShareGPT writes it beside the turns
    if turns[-1]["role"] != "assistant":
        raise DataError(f"{record.place}: field {column!r}: expected a list that ends with the assistant's turn")
    if len(turns) == 1:
        raise DataError(f"{record.place}: field {column!r}: the answer stands alone: expected a turn before it")
    if turns[-1].get("weight") == 0:
        raise DataError(
            f"{record.place}: field {column!r}: the last answer has weight 0: end the list with one that is learnt"
        )
    return turns


def checked_turns(record: Record, column: str, fmt: str = "messages") -> list[Turn]:
    """A list of turns as roles and texts; raises DataError that names the turn."""
    turns = record.fields.get(column)
    shape = '{"role", "content"}' if fmt == "messages" else '{"from", "value"}'
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{record.place}: field {column!r} = {_shown(turns)}: expected a list of {shape}")
    return [
        _turn(turn, f"{record.place}: field {column!r}, turn {number}", shape) for number, turn in enumerate(turns, 1)
    ]


def _turn(turn: Any, place: str, shape: str) -> Turn:
    if not isinstance(turn, dict):
        raise DataError(f"{place} = {_shown(turn)}: expected {shape}")
    speaks, says = (next((key for key in keys if key in turn), None) for keys in (_FROM, _VALUE))
    role = turn.get(speaks) if speaks else None
    known = {**_SPEAKERS, **{name: name for name in ROLES}}
    if not isinstance(role, str) or role.casefold() not in known:
        hint = did_you_mean(role, ROLES) if isinstance(role, str) else f"; there are: {', '.join(ROLES)}"
        raise DataError(f"{place}: role {_shown(role)}: expected {shape} with a role that is known{hint}")
    further = {key: value for key, value in turn.items() if key not in (*_FROM, *_VALUE) and value is not None}
    content = _content(turn.get(says) if says else None, place, shape, may_be_absent=bool(further.get("tool_calls")))
    if known[role.casefold()] == "assistant" and not content.strip() and not further.get("tool_calls"):
        raise DataError(f"{place}: the assistant says nothing: expected text that is not empty")
    if further.get("weight", 1) not in (0, 1):
        raise DataError(f"{place}: weight {_shown(further['weight'])}: expected 0 (not learnt) or 1")
    return {"role": known[role.casefold()], "content": content, **further}


def _content(value: Any, place: str, shape: str, *, may_be_absent: bool) -> str:
    """Text, or the list of text parts that some interfaces write."""
    if isinstance(value, str):
        return value
    if value is None and may_be_absent:
        return ""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        texts = [part.get("text") for part in value if part.get("type", "text") == "text"]
        if len(texts) == len(value) and all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
        kinds = ", ".join(sorted({str(part.get("type")) for part in value}))
        raise DataError(f"{place}: content of type {kinds}: expected text; sftlib trains language models")
    raise DataError(f"{place}: content {_shown(value)}: expected {shape} with text")


def tools_of(record: Record) -> list[dict[str, Any]]:
    """What a conversation's model may call: a list of descriptions, or (in tables) the JSON of one."""
    value = record.fields.get("tools")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise DataError(
                f"{record.place}: field 'tools' = {_shown(value)}: expected a list of tools, or its JSON"
            ) from None
    if is_missing(value) or value == []:
        return []
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise DataError(f"{record.place}: field 'tools' = {_shown(value)}: expected a list of tools, each an object")
    return value


def prompt_and_completion(record: Record, config: SFTConfig) -> tuple[list[Turn], Turn]:
    """Both as strings, or both as lists of turns."""
    prompt, completion = config.data.prompt_column, config.data.completion_column
    are_lists = [isinstance(record.fields.get(column), list) for column in (prompt, completion)]
    if are_lists == [False, False]:
        asked: list[Turn] = [{"role": "user", "content": text_of(record, prompt)}]
        return asked, {"role": "assistant", "content": text_of(record, completion)}
    if are_lists != [True, True]:
        raise DataError(
            f"{record.place}: fields {prompt!r} and {completion!r}: expected two texts, or two lists of turns"
        )
    turns = [*checked_turns(record, prompt), *checked_turns(record, completion)]
    if len(checked_turns(record, completion)) != 1 or turns[-1]["role"] != "assistant":
        raise DataError(f"{record.place}: field {completion!r}: expected one turn of the assistant")
    return turns[:-1], turns[-1]


def label_of(record: Record, config: SFTConfig) -> str | None:
    value: Any = record.fields.get(config.data.label_column)
    return None if value is None else value_text(value)


def _check_labelled(record: Record, config: SFTConfig) -> None:
    text_of(record, config.data.text_column)
    label = record.fields[config.data.label_column]
    if config.task.type == "classification" and value_text(label) not in config.task.labels:
        hint = did_you_mean(value_text(label)[:80], config.task.labels)
        raise DataError(
            f"{record.place}: field {config.data.label_column!r} = {_shown(label)} is not in task.labels{hint}"
        )
    if not isinstance(label, str | int | float):
        raise DataError(f"{record.place}: field {config.data.label_column!r} = {_shown(label)}: expected a label")


def _check_instruction(record: Record, config: SFTConfig) -> None:
    text_of(record, config.data.instruction_column)
    text_of(record, config.data.output_column)
    input_of(record, config)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"


_CHECKS: dict[str, Callable[[Record, SFTConfig], Any]] = {
    "messages": lambda record, config: turns_of(record, "messages", config),
    "sharegpt": lambda record, config: turns_of(record, "sharegpt", config),
    "prompt_completion": prompt_and_completion,
    "alpaca": _check_instruction,
    "columns": _check_instruction,
    "labelled": _check_labelled,
    "text": lambda record, config: text_of(record, config.data.text_column),
}
