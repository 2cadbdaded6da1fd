"""Raw records out of JSON, JSONL, CSV, Parquet or Arrow files, one by one, each with the place where it stands; no library
but the standard one is imported unless a Parquet or Arrow file is read. Used by the plan on a login node and by the data
stage alike."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sftlib.artifacts.columns import arrow_rows, parquet_rows
from sftlib.artifacts.separators import separator_of
from sftlib.errors import DataError

SUFFIXES = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
            ".arrow": "arrow"}  # fmt: skip
_MAX_FIELD = 64 * 1024 * 1024  # characters; the csv module's own limit of 131,072 refuses honest long documents
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")

OnFault = Callable[[DataError], None]  # is told of a record that is none; raising stops the reading


@dataclass(frozen=True)
class Record:
    """One record as it stands in its file."""

    file: Path
    line: int  # 1-based line (JSONL, CSV) or position (JSON, Parquet, Arrow)
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def _stop(fault: DataError) -> None:
    raise fault


def files_of(path: Path) -> list[Path]:
    """The record files that `path` names: itself, or those in the folder, sorted by name."""
    if not path.exists():
        raise DataError(f"{path} does not exist: give the path of a {_kinds()} file or of a folder of them")
    if path.is_file():
        return [path]
    if is_saved_dataset(path):
        return _saved_files(path)
    found = sorted(p for p in path.iterdir() if kind_of(p) and not p.name.startswith((".", "_")))
    if not found:
        splits = saved_splits(path)
        hint = f"; it was saved with the splits {', '.join(splits)}: name one as data.*.split" if splits else ""
        raise DataError(f"{path} is a folder without any {_kinds()} file{hint}")
    return found


def is_saved_dataset(path: Path) -> bool:
    """Whether the folder was written by `Dataset.save_to_disk`."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def saved_splits(path: Path) -> list[str]:
    """The splits of a folder that was written by `DatasetDict.save_to_disk`; none for another one."""
    listing = path / "dataset_dict.json"
    return [str(name) for name in _member(listing, "splits")] if listing.is_file() else []


def _saved_files(path: Path) -> list[Path]:
    state = path / "state.json"
    named = [entry.get("filename") if isinstance(entry, dict) else None for entry in _member(state, "_data_files")]
    if not named or not all(isinstance(name, str) and name == Path(name).name for name in named):
        raise DataError(f"{state}: expected the list _data_files of file names: save the data set again")
    return [path / str(name) for name in named]


def _member(file: Path, key: str) -> list[Any]:
    value = _loads(_text(file), file, 1)
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{file}: expected an object with the list {key}: save the data set again")
    return found


def read_records(path: Path | Iterable[Path], on_fault: OnFault = _stop) -> Iterator[Record]:
    """Every record of a file, a folder or several files, in order, read as it is asked for. A record that is none goes
    to `on_fault`; by default DataError is raised at the first. A file that is broken as a whole always raises."""
    for file in files_of(path) if isinstance(path, Path) else path:
        empty = True

        def noted(fault: DataError) -> None:
            nonlocal empty
            empty = False
            on_fault(fault)

        for record in _reader(file)(file, noted):
            empty = False
            yield record
        if empty:
            raise DataError(f"{file} holds no record: it is empty, or holds an empty list: expected at least one")


def kind_of(file: Path) -> str | None:
    """json, jsonl, csv, parquet or arrow, by the file's name; None for another."""
    name = file.name.lower().removesuffix(".gz")
    kind = SUFFIXES.get(Path(name).suffix)
    return None if kind in ("parquet", "arrow") and file.suffix.lower() == ".gz" else kind


def _reader(file: Path) -> Any:
    kind = kind_of(file)
    if kind is None:
        raise DataError(f"{file} ends in {file.suffix or 'nothing'!r}: expected {_kinds()}")
    return {"json": _read_json, "jsonl": _read_jsonl, "csv": _read_csv, "parquet": _read_parquet, "arrow": _read_arrow}[
        kind
    ]


def _kinds() -> str:
    return ", ".join(sorted(SUFFIXES))


def _open(file: Path, newline: str | None = None) -> TextIO:
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline=newline)
    return file.open(encoding="utf-8-sig", newline=newline)


def _text(file: Path) -> str:
    with _decoding(file), _open(file) as stream:
        return stream.read()


@contextlib.contextmanager
def _decoding(file: Path) -> Iterator[None]:
    """Bytes that are no text, or no gzip, are an error that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _not_gzip(file, error) from None


def _not_utf8(file: Path, error: UnicodeDecodeError, line: int | None = None) -> DataError:
    where = f"{file}:{line}" if line else f"{file}"
    written = "utf-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    return DataError(
        f"{where} is not UTF-8 (byte {error.object[error.start]:#04x}): "
        f"convert the file, for example with iconv -f {written} -t utf-8"
    )


def _not_gzip(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} is not a whole gzip file ({error}): compress it again")


def _fields(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{place}: expected an object with named fields, found {type(value).__name__} {str(value)[:60]!r}"
        )
    return value


def _loads(text: str, file: Path, line: int) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = (
            f"{error.msg} at line {line + error.lineno - 1}, column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else "nested too deeply"
            if isinstance(error, RecursionError)
            else f"{error}"[:100]  # a number of more digits than Python reads
        )
        hint = "; one object a line is JSONL: name the file .jsonl" if "Extra data" in detail else ""
        raise DataError(f"{file}:{line}: not valid JSON: {detail}{hint}: mend or remove it") from None
    if _HALF_PAIR.search(text):
        _check_pairs(value, file, line)
    return value


def _check_pairs(value: Any, file: Path, line: int) -> None:
    """`"\\ud83d"` alone is valid JSON and no text: no tokenizer and no file can hold it."""
    named = value.items() if isinstance(value, dict) else [("", value)]
    for name, item in named:
        try:
            json.dumps([name, item], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            which = f"field {name!r}: " if isinstance(value, dict) else ""
            raise DataError(
                f"{file}:{line}: {ascii(which)[1:-1] if which else ''}half a surrogate pair (\\ud800 to \\udfff) is no "
                f"text: write the whole character"
            ) from None


def _read_json(file: Path, on_fault: OnFault) -> Iterator[Record]:
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
        try:
            record = Record(file, index, _fields(item, f"{file}:{index}"))
        except DataError as fault:
            on_fault(fault)
        else:
            yield record


def _read_jsonl(file: Path, on_fault: OnFault) -> Iterator[Record]:
    """Line by line in bytes, so that one line in another encoding is one fault."""
    with _decoding(file), gzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = _jsonl_record(file, number, line)
            except DataError as fault:
                on_fault(fault)
                continue
            if record is not None:
                yield record


def _jsonl_record(file: Path, number: int, line: bytes) -> Record | None:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error, number) from None
    return Record(file, number, _fields(_loads(text, file, number), f"{file}:{number}")) if text.strip() else None


def _read_csv(file: Path, on_fault: OnFault) -> Iterator[Record]:
    csv.field_size_limit(_MAX_FIELD)
    with _decoding(file), _open(file, newline="") as stream:
        line = 1
        try:
            rows = csv.DictReader(stream, delimiter=separator_of(file), strict=True)
            header = rows.fieldnames or []
            _check_header(file, header)
            for row in rows:
                line = rows.line_num
                if None in row or None in row.values():
                    on_fault(DataError(f"{file}:{line}: expected {len(header)} columns ({', '.join(header)[:200]})"))
                else:
                    yield Record(file, line, row)
        except csv.Error as error:
            raise DataError(f"{file}:{line}: not valid CSV behind this line: {error}: mend the quotes") from None


def _check_header(file: Path, header: Any) -> None:
    twice = sorted({name for name in header if list(header).count(name) > 1})
    if twice:
        raise DataError(f"{file}:1: the column name {twice[0]!r} stands twice in the header: name each column once")


def _read_parquet(file: Path, on_fault: OnFault) -> Iterator[Record]:
    return (Record(file, position, row) for position, row in enumerate(parquet_rows(file), 1))


def _read_arrow(file: Path, on_fault: OnFault) -> Iterator[Record]:
    return (Record(file, position, row) for position, row in enumerate(arrow_rows(file), 1))
