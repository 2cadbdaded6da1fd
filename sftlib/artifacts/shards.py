"""The commit protocol of prediction shards: write, fsync, read back, hash, rename; then the manifest likewise.

A shard without a valid manifest does not exist. The manifest names the run fingerprint, the row range, the count,
the hash of the sample ids and the file's sha256, so that a missing, torn, foreign or corrupt shard is told apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import replacing, write_json
from sftlib.artifacts.hashing import sha256_file, sha256_lines, sha256_value
from sftlib.errors import CorruptError
from sftlib.paths import CellPaths

SCHEMA_VERSION = 1
GROUP_PREFIX = "group."  # of the columns that hold groups
ROW_GROUP_ROWS = 100_000
VALID, MISSING, CORRUPT, FOREIGN = "valid", "missing", "corrupt", "foreign"


@dataclass(frozen=True)
class ShardManifest:
    """What a committed shard holds."""

    fingerprint: str  # the hash of `parts`
    parts: dict[str, str | None]  # everything that shapes a prediction: adapter, base, prompt, test set, settings
    cell: str
    shard_index: int
    num_shards: int
    first_row: int  # position in the test set, in sample order
    row_count: int
    ids_sha256: str
    file_sha256: str
    file_bytes: int
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class ShardState:
    """What stands on disk for one shard, and why it is not valid when it is not."""

    index: int
    state: str
    reason: str = ""
    manifest: ShardManifest | None = None


def shard_range(rows: int, index: int, count: int) -> range:
    """The contiguous rows of shard `index` of `count`; sizes differ by at most one."""
    return range(rows * index // count, rows * (index + 1) // count)


def commit_shard(
    cell: CellPaths, table: Any, *, parts: dict[str, str | None], index: int, count: int, first_row: int
) -> ShardManifest:
    """Write `table` (pyarrow, with a `sample_id` column) as shard `index` of `count`; return its manifest."""
    import pyarrow.parquet as pq

    target = cell.shard(index, count)
    cell.shard_manifest(index, count).unlink(missing_ok=True)  # never an old manifest beside a new file
    # The manifest follows: should its name reach the disk and the shard's not, the shard is seen as missing.
    with replacing(target, is_last=False) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP_ROWS, write_page_checksum=True)
        content = temporary.read_bytes()
        if not _table_of(content).equals(table):
            raise CorruptError(f"{target}: what was read back is not what was written: check the file system")
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
    manifest = ShardManifest(
        sha256_value(parts), parts, cell.name, index, count, first_row, table.num_rows,
        sha256_lines(table["sample_id"].to_pylist()), digest, size,
    )  # fmt: skip
    write_json(cell.shard_manifest(index, count), asdict(manifest))
    return manifest


def check_shard(
    cell: CellPaths, index: int, count: int, known: Mapping[str, str | None] | None = None, *, deep: bool = True
) -> ShardState:
    """What stands there for this shard. `known` parts must agree with the manifest's (an adapter trained anew makes
    its old shards foreign); `deep` re-hashes the file, without it only its size is compared."""
    manifest_path, path = cell.shard_manifest(index, count), cell.shard(index, count)
    if not manifest_path.exists():
        return ShardState(index, MISSING, "file without a manifest" if path.exists() else "")
    try:
        manifest = ShardManifest(**json.loads(manifest_path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return ShardState(index, CORRUPT, f"manifest is not readable ({error})")
    reason = _mismatch(manifest, path, deep)
    if reason:
        return ShardState(index, CORRUPT, reason, manifest)
    foreign = _foreign(manifest, cell, index, count, known or {})
    return ShardState(index, FOREIGN if foreign else VALID, foreign, manifest)


def _foreign(manifest: ShardManifest, cell: CellPaths, index: int, count: int, known: Mapping[str, str | None]) -> str:
    if (manifest.cell, manifest.shard_index, manifest.num_shards) != (cell.name, index, count):
        return f"manifest of {manifest.cell}, shard {manifest.shard_index} of {manifest.num_shards}"
    if manifest.fingerprint != sha256_value(manifest.parts):
        return "its fingerprint is not that of its parts"
    other = [name for name, value in known.items() if manifest.parts.get(name) != value]
    return f"predicted with another {', '.join(other)}" if other else ""


def _mismatch(manifest: ShardManifest, path: Path, deep: bool) -> str:
    if manifest.schema_version != SCHEMA_VERSION:
        return f"schema version {manifest.schema_version}, this sftlib reads {SCHEMA_VERSION}"
    if not path.exists():
        return "manifest without its file"
    if path.stat().st_size != manifest.file_bytes:
        return f"{path.stat().st_size} bytes, manifest says {manifest.file_bytes}"
    if deep and sha256_file(path) != manifest.file_sha256:
        return "sha256 differs from the manifest"
    return ""


def read_shard(cell: CellPaths, index: int, count: int) -> Any:
    """The shard's table, out of the very bytes that the manifest's hash was taken of: page checksums alone do not
    cover the footer, where a flipped bit renames a column."""
    import pyarrow as pa

    path = cell.shard(index, count)
    try:
        manifest = ShardManifest(**json.loads(cell.shard_manifest(index, count).read_text(encoding="utf-8")))
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.file_sha256:
            raise CorruptError(f"{path}: sha256 differs from the manifest: sft rerun predicts it again")
        return _table_of(content)
    except (pa.ArrowInvalid, OSError, ValueError, TypeError) as error:
        raise CorruptError(f"{path}: {error}: sft rerun predicts it again") from None


def _table_of(content: bytes) -> Any:
    """One thread: shards are many and small, and handing a page to a pool takes longer than decoding it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        return file.read(use_threads=False)
