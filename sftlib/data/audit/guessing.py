"""Settings for bare data files: which field is the label, which the group, which labels there are. Each guess is said."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sftlib.artifacts.records import SUFFIXES, Record, read_records
from sftlib.config.references import get_key, with_key
from sftlib.config.values import value_text
from sftlib.errors import InputError

_LABELS = ("label", "label_binary", "labels", "class", "classification", "target", "category")
_GROUPS = ("target_group_norm", "target_group", "group", "demographic")
_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
MOST_LABELS = 20
_FEWEST, _SHARE = 8, 0.9
_PAIR = re.compile(r'"([A-Za-z_][A-Za-z0-9_ -]*)"\s*:\s*"([^"]*)"')


def files_by_split(target: Path) -> dict[str, Path]:
    """A file is train; of a folder, each file whose name says its split; a folder of other files is train."""
    if target.is_file():
        return {"train": target}
    if not target.is_dir():
        raise InputError(
            f"{target} does not exist: give an experiment, a run directory, or a file or folder of records"
        )
    found: dict[str, Path] = {}
    for path in sorted(
        p for p in target.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith((".", "_"))
    ):
        name = next((_SPLITS[word] for word in re.split(r"[^a-z]+", path.stem.casefold()) if word in _SPLITS), None)
        if name in found:
            raise InputError(f"{found[name]} and {path} both look like the {name} split: name the files yourself")
        if name:
            found[name] = path
    return found if "train" in found else {"train": target}


def guessed_settings(values: dict[str, Any], files: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    """`values` with the paths and what the records say about labels and groups, where `values` does not say it."""
    said: list[str] = []
    for name, path in files.items():
        values = with_key(values, f"data.{name}.path", str(path))
    records = list(read_records(files["train"], lambda fault: None))  # faults are told by the audit itself
    fields = Counter(key for record in records for key in record.fields)
    label = get_key(values, "data.label_column") or next((n for n in _LABELS if fields[n] == len(records)), None)
    if label:
        values = _guess(values, "data.label_column", label, said)
    if group := next((name for name in _GROUPS if fields[name] > _SHARE * len(records)), None):
        values = _guess(values, "data.group_columns", [group], said)
    if get_key(values, "task.type") in (None, "classification") and get_key(values, "task.labels") is None:
        values = _guess_task(values, records, str(label) if label else None, said)
    return values, said


def _guess_task(values: dict[str, Any], records: list[Record], label: str | None, said: list[str]) -> dict[str, Any]:
    answers = [answer for record in records if (answer := _answer(record)) is not None]
    key, spoken = _json_answers(answers)
    named = [value_text(record.fields[label]) for record in records] if label else []
    labels = _few(named) or spoken or _few(answers)
    if not labels:
        return values
    values = _guess(values, "task.type", "classification", said)
    values = _guess(values, "task.labels", labels, said)
    if key:
        values = _guess(_guess(values, "task.target", "json", said), "task.json_key", key, said)
    return values


def _guess(values: dict[str, Any], key: str, value: Any, said: list[str]) -> dict[str, Any]:
    if get_key(values, key) is not None:
        return values
    said.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return with_key(values, key, value)


def _answer(record: Record) -> str | None:
    """The target of a finished training record."""
    turns = record.fields.get("messages")
    if isinstance(turns, list) and turns and isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant":
        return str(turns[-1].get("content"))
    for name in ("completion", "output"):
        if isinstance(record.fields.get(name), str):
            return str(record.fields[name])
    return None


def _json_answers(answers: list[str]) -> tuple[str | None, list[str]]:
    """The key that nearly all answers have in JSON, well formed or not, and its few values."""
    found = [dict(_PAIR.findall(answer)) for answer in answers]
    keys = Counter(key for pairs in found for key in pairs)
    for key, count in keys.most_common():
        if count >= _SHARE * len(answers) and (labels := _few([pairs[key] for pairs in found if key in pairs])):
            return key, labels
    return None, []


def _few(values: Iterable[str]) -> list[str]:
    """The distinct values, where they are so few that they must be labels."""
    counts = Counter(value.strip() for value in values)
    is_few = 2 <= len(counts) <= MOST_LABELS and counts.total() >= _FEWEST * len(counts)
    return sorted(counts) if is_few and all(0 < len(value) <= 60 for value in counts) else []
