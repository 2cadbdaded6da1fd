"""Files of foreign predictions: paths come in, parts of a table with the wanted columns go out, a row group or a block of
lines at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.records import files_of, read_records
from sftlib.artifacts.separators import separator_of
from sftlib.config.problems import did_you_mean
from sftlib.errors import DataError

BLOCK_BYTES = 16 * 2**20  # of a CSV file
Load = Callable[[], pa.Table]


@dataclass(frozen=True)
class Source:
    """One file, and the names of its columns."""

    path: Path
    columns: tuple[str, ...]

    @property
    def kind(self) -> str:
        return kind_of(self.path)

    def require(self, option: str, column: str) -> None:
        if column not in self.columns:
            hint = did_you_mean(column, self.columns)
            raise DataError(f"{self.path}: there is no column {column!r} ({option}){hint}")

    def parts(self, columns: Sequence[str], repeating: Sequence[str] = ()) -> Iterator[tuple[int, Load]]:
        """(number of rows, call that reads them), row group by row group; `repeating` columns as dictionaries where the
        file allows."""
        wanted = list(dict.fromkeys(columns))
        if self.kind == "parquet":
            yield from self._row_groups(wanted, [name for name in repeating if name in wanted])
        elif self.kind == "csv":
            for batch in self._blocks(wanted):
                yield batch.num_rows, partial(pa.Table.from_batches, [batch])
        else:
            table = _records_table(self.path, wanted)
            yield table.num_rows, lambda: table

    def _row_groups(self, columns: list[str], repeating: list[str]) -> Iterator[tuple[int, Load]]:
        with _reading(self.path):
            metadata = pq.read_metadata(self.path)
        leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
        texts = {leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"}
        repeating = [name for name in repeating if name in texts]
        for place in range(metadata.num_row_groups):
            rows = metadata.row_group(place).num_rows
            yield rows, partial(_row_group, self.path, place, columns, repeating, metadata)

    def _blocks(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Everything as text: what a column means is decided by what it is named as, not by how it looks."""
        import pyarrow.csv as pc

        with _reading(self.path):
            yield from pc.open_csv(
                self.path,
                pc.ReadOptions(block_size=BLOCK_BYTES, use_threads=True),
                pc.ParseOptions(delimiter=separator_of(self.path), newlines_in_values=True),
                pc.ConvertOptions(
                    include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True,
                    null_values=[""],
                ),
            )  # fmt: skip


def open_sources(paths: Sequence[Path]) -> list[Source]:
    """Every file that the paths name, folders opened; raises DataError where one is none that we read."""
    files = [file for path in paths for file in files_of(path)]
    shards = {
        file.with_suffix(".json") for file in files if file.suffix == ".parquet"
    }  # each has its manifest beside it
    return [Source(file, tuple(_columns(file))) for file in files if file not in shards or file in paths]


def kind_of(path: Path) -> str:
    """parquet, csv or records, by the file's ending."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".json", ".jsonl", ".ndjson"):
        return "records"
    raise DataError(f"{path} ends in {suffix or 'nothing'!r}: expected .parquet, .csv, .tsv, .jsonl or .json")


def _columns(path: Path) -> list[str]:
    kind = kind_of(path)
    with _reading(path):
        if kind == "parquet":
            names = pq.read_schema(path).names
        elif kind == "csv":
            names = _csv_header(path)
        else:
            names = list(dict.fromkeys(name for record in read_records(path) for name in record.fields))
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is there twice: rename one of them")
    return names


def _csv_header(path: Path) -> list[str]:
    import csv

    with path.open(encoding="utf-8-sig", newline="") as stream:
        names = next(csv.reader(stream, delimiter=separator_of(path)), [])
    if not names:
        raise DataError(f"{path} is empty: the first line of a CSV file names its columns")
    return names


def _row_group(path: Path, place: int, columns: list[str], repeating: list[str], metadata: pq.FileMetaData) -> pa.Table:
    with _reading(path):
        file = pq.ParquetFile(path, metadata=metadata, read_dictionary=repeating, page_checksum_verification=True)
        return file.read_row_group(place, columns=columns, use_threads=False)


def _records_table(path: Path, columns: list[str]) -> pa.Table:
    rows = [{name: record.fields.get(name) for name in columns} for record in read_records(path)]
    return pa.table({name: _array([row[name] for row in rows], name, path) for name in columns})


def _array(values: list, name: str, path: Path) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        if any(isinstance(value, list | dict) for value in values):
            raise DataError(f"{path}: column {name!r} holds lists beside other values") from None
        return pa.array([None if value is None else str(value) for value in values], pa.string())


class _reading:
    """Names the file when Arrow or the file system cannot read it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError) or (isinstance(error, pa.ArrowInvalid) and "UTF8" in str(error)):
            raise DataError(
                f"{self.path} is not UTF-8: convert it, for example with iconv -f latin1 -t utf-8"
            ) from None
        if isinstance(error, pa.ArrowException | OSError) and not isinstance(error, DataError):
            raise DataError(f"{self.path} cannot be read: {str(error).partition(chr(10))[0]}") from None
