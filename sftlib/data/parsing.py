"""A label out of a model's own words: the final channel, strict JSON, the last balanced object, exact aliases.
Never a substring: "not hate" is no "hate"."""

from __future__ import annotations

import json
import re

from sftlib.config.data import TaskSection

TRUNCATED, NO_JSON, BAD_LABEL, REFUSAL, ENGINE_ERROR = "truncated", "no_json", "bad_label", "refusal", "engine_error"
_FINAL = re.compile(
    r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>|\bassistantfinal\b", re.IGNORECASE
)
_ANALYSIS = re.compile(r"^\s*(?:<\|channel\|>\s*analysis|analysis)", re.IGNORECASE)
_FENCE = re.compile(r"^```[A-Za-z]*\s*\n?(.*?)\n?```\s*$", re.DOTALL)
_REFUSAL = re.compile(r"^(i'?m sorry|i am sorry|sorry,|i can(?:'|no)t|i cannot|i won't|as an ai)", re.IGNORECASE)


def parse_label(raw: str, task: TaskSection, *, truncated: bool = False) -> tuple[str | None, str | None]:
    """The label, or None and the reason why there is none."""
    text = _final_channel(raw)
    if text is None:
        return None, TRUNCATED if truncated else NO_JSON
    text = _unfenced(text)
    spellings = alias_table(task)
    value = _json_value(text, task.json_key)
    if value is not None:
        label = spellings.get(_folded(value)) if isinstance(value, str) else None
        return (label, None) if label else (None, BAD_LABEL)
    label = spellings.get(_folded(text))
    if label and task.target == "label":
        return label, None
    if truncated:
        return None, TRUNCATED
    if _REFUSAL.match(text):
        return None, REFUSAL
    return None, NO_JSON if task.target == "json" else BAD_LABEL


def alias_table(task: TaskSection) -> dict[str, str]:
    """Folded spelling -> label: the labels, their verbalizers and the task's aliases."""
    table: dict[str, str] = {}
    for label in task.labels:
        for spelling in (label, task.verbalizers.get(label, label), *task.aliases.get(label, [])):
            table[_folded(spelling)] = label
    return table


def _folded(text: str) -> str:
    return " ".join(text.strip().strip("\"'.").split()).casefold()


def _final_channel(raw: str) -> str | None:
    """The text of the last final channel; None when a model that speaks in channels never got to it."""
    parts = _FINAL.split(raw)
    if len(parts) > 1:
        return re.split(r"<\|(?:end|return|start)\|>", parts[-1])[0].strip()
    return None if _ANALYSIS.match(raw) else raw.strip()


def _unfenced(text: str) -> str:
    match = _FENCE.match(text)
    return match.group(1).strip() if match else text


def _json_value(text: str, key: str) -> object | None:
    """The value of `key` in the text as a JSON object, or in the last balanced object of the text."""
    for candidate in (text, _last_object(text)):
        try:
            value = json.loads(candidate) if candidate else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and key in value:
            return value[key]
    return None


def _last_object(text: str) -> str | None:
    """The last `{...}` whose braces balance, quotes respected."""
    end = text.rfind("}")
    while end != -1:
        for start in (match.start() for match in re.finditer(r"\{", text[: end + 1])):
            try:
                _, length = json.JSONDecoder().raw_decode(text[start : end + 1])
            except (ValueError, RecursionError):
                continue
            if start + length == end + 1:
                return text[start : end + 1]
        end = text.rfind("}", 0, end)
    return None
