"""A label out of a model's own words: the final channel, strict JSON, the last balanced object, exact aliases.
Never a substring: "not hate" is no "hate"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sftlib.config.data import TaskSection
from sftlib.config.values import value_text
from sftlib.data.objects import AmbiguousError, last_object, whole_object

TRUNCATED, NO_JSON, BAD_LABEL, REFUSAL, ENGINE_ERROR = "truncated", "no_json", "bad_label", "refusal", "engine_error"
# Spellings of the hate-speech labels where the task names none of its own.
HATE_SPEECH = {"hate": ["hateful", "hate_speech"], "normal": ["benign", "not_hate"]}

_FINAL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>")
# The same with the special tokens left out of the text: the words then stand glued to what is before and behind them.
_GLUED_FINAL = "assistantfinal"
_OTHER_CHANNEL = re.compile(r"\s*(?:<\|channel\|>\s*(?:analysis|commentary)|(?:analysis|commentary)(?!\s*[:a-z]))")
_THOUGHT = re.compile(r"^\s*<think>(?:.*</think>)?|^.*</think>", re.DOTALL)
_END_OF_TURN = re.compile(r"<\|(?:end|return|start|im_end|eot_id|endoftext)\|>")
_FENCE = re.compile(r"^```[A-Za-z0-9]*[ \t]*\n?(.*?)\n?[ \t]*```\s*$", re.DOTALL)
_REFUSAL = re.compile(
    r"(?:i'?m |i am )?(?:very |so |really )?sorry\b|i (?:apologi[sz]e|can'?t|cannot|won'?t|must decline|am (?:un|not )able|refuse)\b"
    r"|i'?m (?:un|not )able\b|i'?m not comfortable\b|as an ai\b|unfortunately,? i\b",
    re.IGNORECASE,
)


def parse_label(raw: str, task: TaskSection, *, truncated: bool = False) -> tuple[str | None, str | None]:
    """The label, or None and the reason why there is none."""
    text = _final_channel(raw)
    if text is None:
        return None, TRUNCATED if truncated else NO_JSON
    text = _unfenced(text)
    spellings = alias_table(task)
    try:
        value = _keyed_value(text, task.json_key)
    except AmbiguousError:
        return None, BAD_LABEL
    if value is not None:
        word = value_text(value[0]) if isinstance(value[0], str | bool | int | float) else ""
        label = spellings.get(_folded(word))
        return (label, None) if label else (None, BAD_LABEL)
    if truncated:  # "hate" may have been on its way to "hateful? No."
        return None, TRUNCATED
    label = spellings.get(_folded(text)) if task.target == "label" else None
    if label:
        return label, None
    if _REFUSAL.match(text.replace("\u2019", "'")):
        return None, REFUSAL
    return None, NO_JSON if task.target == "json" else BAD_LABEL


def alias_table(task: TaskSection) -> dict[str, str]:
    """Folded spelling -> label: the labels, their verbalizers and the task's aliases. One that means two is left out."""
    aliases: Mapping[str, list[str]] = task.aliases
    if not aliases and set(task.labels) == set(HATE_SPEECH):
        aliases = HATE_SPEECH
    meanings: dict[str, set[str]] = {}
    for label in task.labels:
        for spelling in (label, task.verbalizers.get(label, label), *aliases.get(label, [])):
            meanings.setdefault(_folded(spelling), set()).add(label)
    return {spelling: labels.pop() for spelling, labels in meanings.items() if len(labels) == 1}


def _folded(text: str) -> str:
    return " ".join(text.strip().strip("\"'.").split()).casefold()


def _final_channel(raw: str) -> str | None:
    """The text of the last final channel; None when a model that speaks in channels, or thinks, never got to it."""
    parts = _FINAL.split(raw)
    if len(parts) == 1 and _OTHER_CHANNEL.match(raw):
        parts = raw.split(_GLUED_FINAL)
        if len(parts) == 1:
            return None
    text = _THOUGHT.sub("", parts[-1], count=1) if "</think>" in parts[-1] else parts[-1]
    if text.lstrip().startswith("<think>"):
        return None
    return _END_OF_TURN.split(text)[0].strip()


def _unfenced(text: str) -> str:
    match = _FENCE.match(text)
    return match.group(1).strip() if match else text


def _keyed_value(text: str, key: str) -> tuple[Any] | None:
    """The value of `key` in the text as an object, or in the last balanced object of the text."""
    for read in (whole_object, last_object):
        found = read(text)
        if found is not None and key in found:
            return (found[key],)
    return None
