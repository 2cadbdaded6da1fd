"""Raw records out of JSON, JSONL, CSV or Parquet files, each with the place where it stands; no library but the
standard one is imported unless a Parquet file is read. Used by the plan on a login node and by the data stage alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.errors import DataError

SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_MAX_FIELD = 64 * 1024 * 1024  # characters; the csv module's own limit of 131,072 refuses honest long documents


@dataclass(frozen=True)
class Record:
    """One record as it stands in its file."""

    file: Path
    line: int  # 1-based line (JSONL, CSV) or position (JSON, Parquet)
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def files_of(path: Path) -> list[Path]:
    """The record files that `path` names: itself, or those in the folder, sorted by name."""
    if not path.exists():
        raise DataError(f"{path} does not exist: give the path of a {_kinds()} file or of a folder of them")
    if path.is_file():
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith((".", "_")))
    if not found:
        raise DataError(f"{path} is a folder without any {_kinds()} file")
    return found


def read_records(path: Path) -> Iterator[Record]:
    """Every record of the file or folder, in order. Raises DataError at the first thing that is not a record."""
    for file in files_of(path):
        empty = True
        for record in _reader(file)(file):
            empty = False
            yield record
        if empty:
            raise DataError(f"{file} holds no record: it is empty, or holds an empty list")


def _reader(file: Path) -> Any:
    kind = SUFFIXES.get(file.suffix.lower())
    if kind is None:
        raise DataError(f"{file} ends in {file.suffix or 'nothing'!r}: expected {_kinds()}")
    return {"json": _read_json, "jsonl": _read_jsonl, "csv": _read_csv, "parquet": _read_parquet}[kind]


def _kinds() -> str:
    return ", ".join(sorted(SUFFIXES))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from None


def _not_utf8(file: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"{file} is not UTF-8 (byte {error.object[error.start]:#04x} at position {error.start}): "
        f"convert it, for example with iconv -f latin1 -t utf-8"
    )


def _fields(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{place}: expected an object with named fields, found {type(value).__name__} {str(value)[:60]!r}"
        )
    return value


def _loads(text: str, file: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        detail = (
            f"{error.msg} at line {line + error.lineno - 1}, column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else "nested too deeply"
        )
        hint = "; one object a line is JSONL: name the file .jsonl" if "Extra data" in detail else ""
        raise DataError(f"{file}:{line}: not valid JSON: {detail}{hint}") from None


def _read_json(file: Path) -> Iterator[Record]:
    content = _text(file)
    if not content.strip():
        return
    value = _loads(content, file, 1)
    if isinstance(value, dict):
        lists = [key for key, item in value.items() if isinstance(item, list)]
        if len(lists) != 1:
            raise DataError(
                f"{file}: expected a list of records, found an object with keys {', '.join(list(value)[:8])}"
            )
        value = value[lists[0]]
    if not isinstance(value, list):
        raise DataError(f"{file}: expected a list of records, found {type(value).__name__}")
    for index, item in enumerate(value, 1):
        yield Record(file, index, _fields(item, f"{file}: record {index}"))


def _read_jsonl(file: Path) -> Iterator[Record]:
    with file.open(encoding="utf-8-sig") as stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield Record(file, number, _fields(_loads(line, file, number), f"{file}:{number}"))
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error) from None


def _read_csv(file: Path) -> Iterator[Record]:
    csv.field_size_limit(_MAX_FIELD)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        try:
            rows = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            header = rows.fieldnames or []
            _check_header(file, header)
            for row in rows:
                if None in row or None in row.values():
                    raise DataError(f"{file}:{rows.line_num}: expected {len(header)} columns ({', '.join(header)})")
                yield Record(file, rows.line_num, row)
        except csv.Error as error:
            raise DataError(f"{file}: not valid CSV: {error}") from None
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error) from None


def _check_header(file: Path, header: Any) -> None:
    twice = sorted({name for name in header if list(header).count(name) > 1})
    if twice:
        raise DataError(f"{file}:1: the column name {twice[0]!r} stands twice in the header")


def _read_parquet(file: Path) -> Iterator[Record]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(f"{file}: reading Parquet needs pyarrow: pip install 'sftlib[evaluate]'") from None
    try:
        position = 0
        for batch in pq.ParquetFile(file).iter_batches(batch_size=10_000):
            for row in batch.to_pylist():
                position += 1
                yield Record(file, position, row)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not a whole Parquet file: {error}") from None
