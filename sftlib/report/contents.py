"""A shard's bytes, read once: they are hashed, checked against their manifest, and then parsed out of the same memory.

Parquet's own page checksums do not cover the footer, where one flipped bit renames a column; so what was hashed and what
is parsed must be the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.shards import CORRUPT, ShardManifest
from sftlib.report.arrow import numpy_of
from sftlib.report.findings import DUPLICATE

NEEDED = ("sample_id", "row", "gold", "prediction")


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


def check_content(content: pa.Buffer, manifest: ShardManifest) -> None:
    """Columns, number of rows, and a `row` column that counts up through the manifest's range."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        absent = [name for name in NEEDED if name not in file.schema_arrow.names]
        if absent:
            raise ShardFaultError(CORRUPT, f"column {', '.join(absent)} is missing")
        if file.metadata.num_rows != manifest.row_count:
            raise ShardFaultError(CORRUPT, f"{file.metadata.num_rows} rows, manifest says {manifest.row_count}")
        _check_rows(file, manifest.first_row)
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardFaultError(CORRUPT, f"not a Parquet file: {error}") from None


def _check_rows(file: pq.ParquetFile, first: int) -> None:
    expected = first
    for batch in file.iter_batches(columns=["row"]):
        rows = numpy_of(batch.column(0), -1)
        if len(rows) and (rows[0] != expected or (rows[1:] != rows[:-1] + 1).any()):
            raise ShardFaultError(DUPLICATE, f"its rows do not count up from {first}")
        expected += len(rows)
