"""What a run or rerun submits, read off manifests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.missing import find_missing
from jobs.plan import plan_elements
from sftlib.artifacts.adapters import weights_digest
from sftlib.config.rundir import Run
from sftlib.paths import ADAPTER_WEIGHTS


@pytest.fixture
def finished(make_run, child_environment) -> Run:
    """A run whose every stage the stand-in has done."""
    run = make_run(sweep={}, predict={"num_shards": 2})
    need = find_missing(run, deep=True)
    for element in plan_elements(run.paths.root, run.config, need, lambda cell: run.config):
        environment = {**child_environment, "SFTLIB_ELEMENT": element.id, "SFTLIB_STOP_FILE": "/nowhere"}
        (run.paths.root / "trace.jsonl").touch()
        argv = [sys.executable, str(Path(__file__).with_name("fake_stage.py")), *element.argv]
        assert subprocess.run(argv, env=environment, check=False).returncode == 0
    assert find_missing(run, deep=True).is_nothing
    return run


def test_a_new_run_needs_everything(make_run) -> None:
    need = find_missing(make_run(predict={"num_shards": 3}), deep=False)
    assert need.train == ("r4", "r8")
    assert need.shards == {"r4": (0, 1, 2), "r8": (0, 1, 2), "baseline": (0, 1, 2)} and need.merge


def test_one_byte_changed_is_found_by_hashing(finished: Run) -> None:
    path = finished.paths.cell("main").shard(1, 2)
    path.write_bytes(b"x" * path.stat().st_size)
    assert find_missing(finished, deep=False).is_nothing
    need = find_missing(finished, deep=True)
    assert (need.train, dict(need.shards), need.merge) == ((), {"main": (1,)}, True)


def test_a_shard_without_its_file_or_manifest(finished: Run) -> None:
    finished.paths.cell("main").shard(0, 2).unlink()
    finished.paths.cell("baseline").shard_manifest(1, 2).unlink()
    assert dict(find_missing(finished, deep=False).shards) == {"main": (0,), "baseline": (1,)}


@pytest.mark.parametrize("change", [{"complete": False}, {"config_sha256": "0"}])
def test_a_summary_that_does_not_fit(finished: Run, change: dict) -> None:
    path = finished.paths.cell("main").summary
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    need = find_missing(finished, deep=False)
    assert need.train == ("main",) and dict(need.shards) == {"main": (0, 1)}


@pytest.mark.parametrize("content", [None, "{"])
def test_an_adapter_without_a_readable_record(finished: Run, content: str | None) -> None:
    record = finished.paths.cell("main").adapter_record
    record.unlink()
    if content is not None:
        record.write_text(content)
    assert find_missing(finished, deep=False).train == ("main",)


def test_shards_of_another_adapter_are_done_again(finished: Run) -> None:
    paths = finished.paths.cell("main")
    (paths.adapter / ADAPTER_WEIGHTS).write_text("trained anew")
    assert find_missing(finished, deep=False).is_nothing, "only a deep look hashes the weights"
    assert find_missing(finished, deep=True).train == ("main",)
    digest = weights_digest(paths.adapter)
    for path, key in ((paths.adapter_record, "weights_sha256"), (paths.summary, "adapter_sha256")):
        path.write_text(json.dumps({**json.loads(path.read_text()), key: digest}))
    need = find_missing(finished, deep=True)
    assert need.train == () and dict(need.shards) == {"main": (0, 1)}


def test_the_report_alone(finished: Run) -> None:
    metrics = finished.paths.report.metrics_json
    os.utime(metrics, (1, 1))
    need = find_missing(finished, deep=False)
    assert (need.train, need.shards, need.merge) == ((), {}, True), "older than the shards it should be made of"
    metrics.unlink()
    assert find_missing(finished, deep=False).merge
