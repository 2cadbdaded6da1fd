"""Several processes on one cell: every shard once, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftlib.artifacts.progress import Progress, ProgressFile
from sftlib.artifacts.shards import VALID, check_shard, read_shard
from sftlib.config.rundir import Run, open_run, open_target
from sftlib.infer.workers import run_workers, visible_devices, worker_count
from tests.conftest import PROJECT
from tests.posts import write_experiment

SHARDS, RECORDS = 8, 64
ENV = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "SFTLIB_DUMMY_LATENCY_MS": "5"}


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Run:
    path = write_experiment(tmp_path, tiny_model, test=RECORDS, predict={"num_shards": SHARDS, "engine": "dummy"})
    return open_target(path, [], tmp_path / "runs")


def predict(run: Run, *arguments: str, launcher: tuple[str, ...] = (sys.executable,), **env: str) -> subprocess.Popen:
    command = [*launcher, "-m", "sftlib", "predict", str(run.paths.root), "--cell", "baseline", *arguments]
    return subprocess.Popen(command, env={**ENV, **env}, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, expect: int = 0) -> str:
    _, said = process.communicate(timeout=240)
    assert process.returncode == expect, said
    return said


def rows(run: Run) -> list[dict]:
    cell = run.paths.cell("baseline")
    return [row for i in range(SHARDS) for row in read_shard(cell, i, SHARDS).to_pylist()]


def check_whole(run: Run) -> None:
    assert [row["row"] for row in rows(run)] == list(range(RECORDS))
    left = {path.name for path in run.paths.cell("baseline").predictions.iterdir()}
    assert len(left) == 2 * SHARDS and not any(name.startswith(".") for name in left)


def test_workers_share_the_shards_and_end_with_all_of_them(run: Run) -> None:
    said = finish(predict(run, "--workers", "3"))
    check_whole(run)
    assert sorted(line for line in said.splitlines() if " records" in line) == sorted(
        f"baseline: shard {i} of {SHARDS}, {RECORDS // SHARDS} records" for i in range(SHARDS)
    )
    assert "all 8 shards are there" in finish(predict(run, "--workers", "3"))


def test_a_worker_that_is_killed_is_replaced_by_the_others(run: Run) -> None:
    parent = predict(run, "--workers", "2", SFTLIB_DUMMY_LATENCY_MS="40")
    predictions = run.paths.cell("baseline").predictions
    deadline = time.time() + 120
    while not any(predictions.glob("*.json")):
        assert time.time() < deadline and parent.poll() is None
        time.sleep(0.01)
    victim = children(parent.pid)[0]
    os.kill(victim, signal.SIGKILL)
    assert "ended with signal SIGKILL" in finish(parent)
    check_whole(run)


def test_workers_end_with_their_parent(run: Run) -> None:
    parent = predict(run, "--workers", "2", SFTLIB_DUMMY_LATENCY_MS="100")
    deadline = time.time() + 120
    while len(children(parent.pid)) < 2 or not any(run.paths.cell("baseline").predictions.glob(".part-*claim*")):
        assert time.time() < deadline and parent.poll() is None
        time.sleep(0.01)
    workers = children(parent.pid)
    parent.kill()
    parent.communicate()
    deadline = time.time() + 20
    while any(alive(pid) for pid in workers):
        assert time.time() < deadline
        time.sleep(0.02)
    finish(predict(run))  # their claims hold nobody up
    check_whole(run)


LAUNCHERS = {
    "torchrun": ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29871"),
    "accelerate": ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "29872"),
}  # fmt: skip


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_are_workers_and_each_has_its_share(run: Run, launcher: str) -> None:
    """A shard takes 1.2 s, so that a rank which starts some seconds late still finds work."""
    said = finish(predict(run, launcher=(sys.executable, *LAUNCHERS[launcher]), SFTLIB_DUMMY_LATENCY_MS="150"))
    check_whole(run)
    shards = [line.partition("baseline: shard ")[::2] for line in said.splitlines() if " records" in line]
    assert sorted(shard for _, shard in shards) == [
        f"{i} of {SHARDS}, {RECORDS // SHARDS} records" for i in range(SHARDS)
    ]
    assert {who for who, _ in shards} == {"", "rank 1: "}


def test_what_a_worker_says_is_wrong_is_the_exit_code(run: Run) -> None:
    path = run.paths.cell("baseline").config
    path.write_text(path.read_text().replace('"r": 4', '"r": 5'))
    assert "was changed after it was written" in finish(predict(run, "--workers", "2"), expect=1)


def test_an_end_of_all_workers_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = predict(run, "--workers", "2", SFTLIB_DUMMY_LATENCY_MS="300")
    deadline = time.time() + 120
    while len(children(parent.pid)) < 2 or not any(run.paths.cell("baseline").predictions.glob(".part-*claim*")):
        assert time.time() < deadline and parent.poll() is None
        time.sleep(0.01)
    for pid in children(parent.pid):
        os.kill(pid, signal.SIGKILL)
    assert "every worker ended before shards baseline" in finish(parent, expect=3)


def test_as_many_workers_as_devices_and_never_more_than_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,GPU-7")
    assert visible_devices() == ["2", "5", "GPU-7"]
    assert worker_count(None, 8) == 3 and worker_count(None, 2) == 2 and worker_count(1, 8) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert worker_count(None, 8) == 1 and worker_count(4, 8) == 4


def test_a_process_without_a_pipe_counts_nothing() -> None:
    progress = ProgressFile(None, Progress("predict", "predict", "x"))
    assert run_workers(["--nothing"], 1, progress) == [2] and progress.progress.done == 0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_status_of_shards_after_workers(run: Run) -> None:
    finish(predict(run, "--workers", "2"))
    opened = open_run(run.paths.root)
    known = opened.known_parts("baseline")
    assert {check_shard(run.paths.cell("baseline"), i, SHARDS, known).state for i in range(SHARDS)} == {VALID}
