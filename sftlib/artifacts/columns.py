"""Rows out of Parquet and Arrow files, in batches that are checked before they are followed; pyarrow is imported when one is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sftlib.errors import DataError

_ROWS = 1000  # at a time: a saved data set may hold a million in one batch


def parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    pa, pq = _pyarrow(file), _pyarrow(file, "parquet")
    try:
        opened = pq.ParquetFile(file)
        yield from _rows(opened.schema_arrow, opened.iter_batches(batch_size=_ROWS))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a whole Parquet file: {str(error)[:200]}: copy it again") from None


def arrow_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Of the stream format of `datasets`, or of Arrow's file format."""
    pa, ipc = _pyarrow(file), _pyarrow(file, "ipc")
    try:
        with pa.memory_map(str(file)) as mapped:
            try:
                opened = ipc.open_stream(mapped)
                yield from _rows(opened.schema, opened)
            except pa.ArrowInvalid:
                opened = ipc.open_file(mapped)
                batches = (opened.get_batch(index) for index in range(opened.num_record_batches))
                yield from _rows(opened.schema, batches)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a whole Arrow file: {str(error)[:200]}: copy it again") from None


def _pyarrow(file: Path, module: str | None = None) -> Any:
    try:
        return import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError:
        raise DataError(f"{file}: reading Parquet and Arrow needs pyarrow: pip install 'sftlib[evaluate]'") from None


def _rows(schema: Any, batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    names = _class_names(schema)
    for batch in batches:
        batch.validate(full=True)  # a flipped bit in an offset would otherwise be followed out of the file
        for start in range(0, batch.num_rows, _ROWS):
            for row in batch.slice(start, _ROWS).to_pylist():
                for column, labels in names.items():
                    value = row[column]
                    row[column] = labels[value] if isinstance(value, int) and 0 <= value < len(labels) else value
                yield row


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Columns that `datasets` wrote as numbers of classes, and the names behind the numbers."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
