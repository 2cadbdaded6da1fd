"""A shard exists when its manifest says so, and not before."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.artifacts.shards import CORRUPT, FOREIGN, MISSING, VALID, check_shard, commit_shard, read_shard, shard_range
from sftlib.errors import CorruptError
from sftlib.paths import CellPaths

PARTS = {"adapter": "a1", "base": "b1", "prompt": "p1", "test": "t1"}


def table(start: int = 0, rows: int = 5) -> pa.Table:
    return pa.table({"sample_id": [f"s{i}" for i in range(start, start + rows)], "prediction": ["hate"] * rows})


@pytest.fixture
def cell(tmp_path: Path) -> CellPaths:
    paths = CellPaths(tmp_path / "cells" / "r8")
    commit_shard(paths, table(), parts=PARTS, index=0, count=2, first_row=0)
    return paths


def state(cell: CellPaths, **known: str) -> tuple[str, str]:
    found = check_shard(cell, 0, 2, known)
    return found.state, found.reason


def test_what_was_committed_is_valid_and_reads_back(cell: CellPaths) -> None:
    assert state(cell, adapter="a1", test="t1") == (VALID, "")
    assert read_shard(cell, 0, 2).equals(table())
    assert check_shard(cell, 1, 2).state == MISSING


def test_a_flipped_bit_anywhere_is_found(cell: CellPaths) -> None:
    path = cell.shard(0, 2)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert state(cell) == (CORRUPT, "sha256 differs from the manifest")
        with pytest.raises(CorruptError, match="sft rerun"):
            read_shard(cell, 0, 2)


def test_a_torn_file_and_missing_parts(cell: CellPaths) -> None:
    path, manifest = cell.shard(0, 2), cell.shard_manifest(0, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert state(cell)[0] == CORRUPT and "bytes, manifest says" in state(cell)[1]
    path.unlink()
    assert state(cell) == (CORRUPT, "manifest without its file")
    path.write_bytes(whole)
    written = manifest.read_text()
    manifest.write_text(written[:30])
    assert state(cell)[0] == CORRUPT and "not readable" in state(cell)[1]
    manifest.write_text('{"cell": "r8"}')
    assert state(cell)[0] == CORRUPT
    manifest.unlink()
    assert state(cell) == (MISSING, "file without a manifest")


def test_a_shard_of_another_adapter_or_place_is_foreign(cell: CellPaths, tmp_path: Path) -> None:
    assert state(cell, adapter="a2", test="t2") == (FOREIGN, "predicted with another adapter, test")
    other = CellPaths(tmp_path / "cells" / "r16")
    other.predictions.mkdir(parents=True)
    for mine, theirs in ((cell.shard, other.shard), (cell.shard_manifest, other.shard_manifest)):
        theirs(0, 2).write_bytes(mine(0, 2).read_bytes())
    assert check_shard(other, 0, 2).state == FOREIGN


def test_a_second_commit_replaces_the_first(cell: CellPaths) -> None:
    commit_shard(cell, table(rows=3), parts={**PARTS, "adapter": "a2"}, index=0, count=2, first_row=0)
    assert state(cell, adapter="a2") == (VALID, "")
    assert read_shard(cell, 0, 2).num_rows == 3
    assert sorted(path.suffix for path in cell.predictions.iterdir()) == [".json", ".parquet"]


@given(rows=st.integers(0, 5000), count=st.integers(1, 64))
def test_shards_cover_every_row_exactly_once(rows: int, count: int) -> None:
    ranges = [shard_range(rows, index, count) for index in range(count)]
    assert [row for part in ranges for row in part] == list(range(rows))
    sizes = [len(part) for part in ranges]
    assert max(sizes) - min(sizes) <= 1
