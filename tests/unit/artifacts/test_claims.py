"""A claim is had by one process; a dead process's claim is taken over, a living one's never."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sftlib.artifacts import claims
from sftlib.artifacts.claims import take_claim
from sftlib.artifacts.processes import current_process
from sftlib.artifacts.shards import commit_shard
from sftlib.artifacts.strays import remains, strangers, tidy
from sftlib.paths import CellPaths


@pytest.fixture
def cell(tmp_path: Path) -> CellPaths:
    return CellPaths(tmp_path / "cells" / "r8")


def dead_claim(cell: CellPaths, **changes: object) -> Path:
    """What a process that was killed leaves behind."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    cell.predictions.mkdir(parents=True, exist_ok=True)
    path = cell.shard_claim(0, 4, 0)
    path.write_text(json.dumps({**current_process().to_json(), "pid": gone.pid, "start": "x", **changes}))
    return path


def test_one_of_many_that_ask_at_once_has_it(cell: CellPaths) -> None:
    for _ in range(30):
        with ThreadPoolExecutor(8) as pool:
            got = [claim for claim in pool.map(lambda _: take_claim(cell, 0, 4), range(8)) if claim]
        assert len(got) == 1
        assert take_claim(cell, 0, 4) is None and take_claim(cell, 1, 4) is not None
        got[0].release()
        cell.shard_claim(1, 4, 0).unlink()
    assert [path.name for path in cell.predictions.iterdir()] == []


def test_one_of_many_takes_over_from_the_dead(cell: CellPaths) -> None:
    dead_claim(cell)
    with ThreadPoolExecutor(8) as pool:
        got = [claim for claim in pool.map(lambda _: take_claim(cell, 0, 4), range(8)) if claim]
    assert len(got) == 1 and got[0].path == cell.shard_claim(0, 4, 1)
    got[0].release()
    assert list(cell.predictions.iterdir()) == []


def test_another_hosts_claim_counts_until_it_is_no_longer_renewed(cell: CellPaths) -> None:
    path = dead_claim(cell, host="elsewhere")
    assert take_claim(cell, 0, 4) is None
    old = time.time() - claims.EXPIRES_S - 1
    os.utime(path, (old, old))
    assert take_claim(cell, 0, 4) is not None


def test_a_claim_is_renewed_while_it_is_held(cell: CellPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = take_claim(cell, 0, 4)
    assert claim is not None
    os.utime(claim.path, (1, 1))
    monkeypatch.setattr(claims, "RENEW_S", 0.01)
    monkeypatch.setattr(claims, "_renewer", [])
    claims._renew(claim.path)
    deadline = time.monotonic() + 10
    while claim.path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim.path.stat().st_mtime > 2
    claim.release()


def test_a_torn_claim_holds_nobody_up(cell: CellPaths) -> None:
    dead_claim(cell).write_text("{")
    assert take_claim(cell, 0, 4) is not None


def test_remains_are_removed_and_strangers_put_aside_whole(cell: CellPaths) -> None:
    import pyarrow as pa

    table = pa.table({"sample_id": ["a", "b"]})
    commit_shard(cell, table, parts={}, index=0, count=1, first_row=0)
    ours = {path.name for path in cell.predictions.iterdir()}
    copy = cell.predictions / "part-00000-of-00001 (copy).parquet"
    copy.write_bytes(cell.shard(0, 1).read_bytes())
    commit_shard(cell, table, parts={}, index=1, count=3, first_row=0)
    (cell.predictions / ".part-00000-of-00001.parquet.abc.77.tmp").write_bytes(b"half")
    dead_claim(cell)
    assert len(remains(cell)) == 2 and len(strangers(cell, 1)) == 3
    said = list(tidy(cell, 1))
    assert len(said) == 5 and all(str(cell.predictions) in line for line in said)
    assert {path.name for path in cell.predictions.iterdir()} == {*ours, ".aside"}
    assert len(list((cell.predictions / ".aside").iterdir())) == 3  # nothing is lost
    assert list(cell.predictions.rglob("*.parquet")) == [cell.shard(0, 1)]


def test_nothing_is_touched_while_somebody_works_there(cell: CellPaths) -> None:
    claim = take_claim(cell, 0, 1)
    (cell.predictions / ".part-00000-of-00001.parquet.abc.77.tmp").write_bytes(b"half")
    assert remains(cell) == [] and list(tidy(cell, 1)) == []
    assert claim is not None
    claim.release()
    assert len(remains(cell)) == 1
