"""Records with the fields that an experiment names: `meta.label` reaches into the object `meta`, `turns.0.text` into a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sftlib.artifacts.records import OnFault, Record, read_records
from sftlib.config.data import DataSection
from sftlib.config.placeholders import names_in
from sftlib.config.tree import SFTConfig


def named_records(files: Iterable[Path], on_fault: OnFault, config: SFTConfig) -> Iterator[Record]:
    """Every record of the files; what settings name by a dotted name stands in `fields` under that name too."""
    dotted = [name for name in named_columns(config) if "." in name]
    for record in read_records(files, on_fault):
        yield _opened(record, dotted) if dotted else record


def named_columns(config: SFTConfig) -> list[str]:
    """The fields that data.*, its filters and prompt.user speak of."""
    data = config.data
    single = [getattr(data, name) for name in type(data).model_fields if name.endswith("_column")]
    filters = [key for source in (data.train, data.validation, data.test) if source for key in source.where]
    names = [*single, *data.group_columns, *data.stratify, *filters, *names_in(config.prompt.user or "")]
    return list(dict.fromkeys(name for name in names if name))


def _opened(record: Record, dotted: list[str]) -> Record:
    found = {name: value for name in dotted if name not in record.fields for value in _within(record.fields, name)}
    return Record(record.file, record.line, {**record.fields, **found}) if found else record


def _within(value: Any, path: str) -> list[Any]:
    """The value at the end of the path, alone in a list; nothing where the path leads nowhere."""
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return []
    return [value]


def shown_names(config: SFTConfig, fields: Iterable[str]) -> list[str]:
    """The fields that prompt.user puts into a prompt."""
    known = {"text", *known_groups(config.data), *fields}
    return [name for name in names_in(config.prompt.user or "") if name in known]


def known_groups(data: DataSection) -> list[str]:
    """`{target_group}` stands for the first of data.group_columns."""
    return ["target_group"] if data.group_columns else []
