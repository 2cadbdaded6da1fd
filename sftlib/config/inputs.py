"""What a split holds, as far as a plan must know it: how many records, which fields, labels, groups and ids.

Reads with the standard library (Parquet: pyarrow) and runs on a login node, so that a missing, empty or wrong file
is found before anything is submitted. The same function gives the data stage its records, so both see the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from sftlib.artifacts.hashing import sha256_file, sha256_lines
from sftlib.artifacts.records import Record, files_of, read_records
from sftlib.config.data import DataSection, Source
from sftlib.config.problems import did_you_mean
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError

SPLITS = ("train", "validation", "test")
_ID_FIELDS = ("sample_id", "original_id", "id")


@dataclass(frozen=True)
class Split:
    """The records of one split, as they stand in the files."""

    name: str
    source: Source
    format: str
    records: list[Record]
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.records)

    def count(self, column: str) -> Counter[str]:
        return Counter(str(record.fields.get(column)) for record in self.records)


def detect_format(fields: Iterable[str], data: DataSection) -> str:
    """The format that the fields of a record speak for; raises DataError when none does."""
    names = set(fields)
    for name, needed in _needed_fields(data).items():
        if needed and needed <= names:
            return name
    expected = "; ".join(f"{name}: {', '.join(sorted(needed))}" for name, needed in _needed_fields(data).items())
    raise DataError(
        f"no format fits the fields {', '.join(sorted(names)) or '(none)'}. Expected for {expected}. Set data.format"
    )


def _needed_fields(data: DataSection) -> dict[str, set[str]]:
    return {
        "messages": {data.messages_column},
        "sharegpt": {data.conversations_column},
        "prompt_completion": {data.prompt_column, data.completion_column},
        "alpaca": {data.instruction_column, data.output_column},
        "columns": {data.instruction_column, data.output_column},
        "labelled": {data.text_column, data.label_column},
        "text": {data.text_column},
    }


def read_split(config: SFTConfig, name: str) -> Split:
    """Read one split of the experiment and check that each record is what the format says."""
    parts = list(stream_split(config, name))
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part.dropped)
    records = [record for part in parts for record in part.records]
    return replace(parts[0], records=records, dropped=dict(dropped), sha256=split_digest(config, name))


def stream_split(config: SFTConfig, name: str, size: int = 1000) -> Iterator[Split]:
    """The same split in parts of at most `size` records, each read and checked when it is asked for; no digest."""
    source = _source(config, name)
    path, first, total = Path(source.path or ""), None, 0
    fmt: str = config.data.format
    unseen = set(config.data.group_columns)
    records = read_records(path)
    while part := list(islice(records, size)):
        total += len(part)
        kept = [record for record in part if _matches(record, source)]
        if kept and first is None:
            first, fmt = kept[0], fmt if fmt != "auto" else _detected(kept[0], config.data)
        _check_fields(kept, fmt, config)
        unseen -= {column for column in unseen if any(column in record.fields for record in kept)}
        dropped = {f"where {source.where}": len(part) - len(kept)} if source.where else {}
        yield Split(name, source, fmt, kept, dropped)
    if first is None:
        raise DataError(
            f"{path}: data.{name}.where {source.where} keeps none of {total} records: change or drop the filter"
        )
    for column in sorted(unseen):
        _require(first, column, fmt)


def training_splits(config: SFTConfig) -> list[str]:
    """The splits that a training reads."""
    return [name for name in ("train", "validation") if getattr(config.data, name)]


def split_digest(config: SFTConfig, name: str) -> str:
    """`Split.sha256` from the bytes of the files alone: no record is parsed, so that a cache can be asked first."""
    path = Path(_source(config, name).path or "")
    return sha256_lines([sha256_file(file) for file in files_of(path)])


def _source(config: SFTConfig, name: str) -> Source:
    source: Source | None = getattr(config.data, name)
    if source is None or source.path is None:
        hub = f"{source.hub!r} on the hub cannot be read yet; " if source and source.hub else ""
        raise DataError(f"data.{name}: {hub}give the path of a file or folder")
    return source


def _matches(record: Record, source: Source) -> bool:
    return all(record.fields.get(key) == value for key, value in source.where.items())


def _detected(record: Record, data: DataSection) -> str:
    try:
        return detect_format(record.fields, data)
    except DataError as error:
        raise DataError(f"{record.place}: {error}") from None


def _check_fields(records: list[Record], fmt: str, config: SFTConfig) -> None:
    data = config.data
    needed = sorted(_needed_fields(data).get(fmt, set()) | ({data.id_column} if data.id_column else set()))
    for record in records:
        for column in needed:
            _require(record, column, fmt)
        if fmt == "labelled":
            _check_labelled(record, config)


def _require(record: Record, column: str, fmt: str) -> None:
    if column not in record.fields:
        hint = did_you_mean(column, map(str, record.fields))
        raise DataError(f"{record.place}: field {column!r} is missing (format {fmt}){hint}")


def _check_labelled(record: Record, config: SFTConfig) -> None:
    text, label = record.fields[config.data.text_column], record.fields[config.data.label_column]
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"{record.place}: field {config.data.text_column!r} = {text!r}: expected text that is not empty"
        )
    labels = config.task.labels
    if config.task.type == "classification" and str(label) not in labels:
        hint = did_you_mean(str(label), labels)
        raise DataError(f"{record.place}: field {config.data.label_column!r} = {label!r} is not in task.labels{hint}")


def sample_ids(records: list[Record], id_column: str | None) -> list[str]:
    """A unique id for each record: of the named field, of a usual one when it is unique, else the position."""
    column = id_column or next((name for name in _ID_FIELDS if all(name in r.fields for r in records)), None)
    if column is None:
        return [f"row-{index:08d}" for index in range(len(records))]
    ids = [str(record.fields[column]) for record in records]
    twice = next((name for name, count in Counter(ids).items() if count > 1), None)
    if twice is None:
        return ids
    if id_column is None:
        return [f"row-{index:08d}" for index in range(len(records))]
    places = ", ".join(record.place for record, name in zip(records, ids, strict=True) if name == twice)
    raise DataError(f"sample id {twice!r} stands at {places}: ids must be unique; choose another data.id_column")


def label_of(record: Record, config: SFTConfig) -> str | None:
    value: Any = record.fields.get(config.data.label_column)
    return None if value is None else str(value)
