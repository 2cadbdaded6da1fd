"""A shard's bytes, read once: they are hashed, checked against their manifest, and then parsed out of the same memory.

Parquet's own page checksums do not cover the footer, where one flipped bit renames a column; so what was hashed and what
is parsed must be the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.shards import CORRUPT, ShardManifest
from sftlib.report.arrow import numpy_of
from sftlib.report.findings import DUPLICATE
from sftlib.report.reading import read_batches

NEEDED = ("sample_id", "row", "gold", "prediction")
Batches = list[pa.RecordBatch]


class ShardFaultError(Exception):
    """Why a shard cannot be used: a kind of finding and a reason."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def load_shard(path: Path, manifest: ShardManifest) -> pa.Buffer:
    """The bytes of a shard that are those of its manifest; raises ShardFaultError when they are not."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ShardFaultError(CORRUPT, f"it cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != manifest.file_sha256:
        raise ShardFaultError(CORRUPT, "sha256 differs from the manifest")
    return pa.py_buffer(content)


def shard_batches(content: pa.Buffer, manifest: ShardManifest, columns: Sequence[str] | None = None) -> Batches:
    """The shard as batches of these columns (default: all), once it is seen to hold what its manifest says: columns,
    number of rows, and a `row` column that counts up through the manifest's range."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(content))
        names = metadata.schema.to_arrow_schema().names
        absent = [name for name in NEEDED if name not in names]
        if absent:
            raise ShardFaultError(CORRUPT, f"column {', '.join(absent)} is missing")
        if metadata.num_rows != manifest.row_count:
            raise ShardFaultError(CORRUPT, f"{metadata.num_rows} rows, manifest says {manifest.row_count}")
        batches = list(read_batches(content, None if columns is None else {*columns, "row"}))
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardFaultError(CORRUPT, f"not a Parquet file: {error}") from None
    _check_rows(batches, manifest.first_row)
    return batches


def _check_rows(batches: Batches, first: int) -> None:
    expected = first
    for batch in batches:
        rows = numpy_of(batch.column("row"), -1)
        if len(rows) and (rows[0] != expected or (rows[1:] - rows[:-1] != 1).any()):
            raise ShardFaultError(DUPLICATE, f"its rows do not count up from {first}")
        expected += len(rows)
