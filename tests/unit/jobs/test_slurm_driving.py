"""The driver where the queue takes no more: what it waits for, how often it asks, and what it then submits. Slurm's part is
stood in for here, because real minutes would pass; the real one: tests/cluster, python -m benchmarks.many_elements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.attempts import new_attempt
from jobs.payload import Submission
from jobs.plan import full_need, plan_elements
from jobs.slurm import driving, queue
from jobs.slurm.arrays import Array
from jobs.slurm.driving import Board, fill_queue, open_board
from jobs.slurm.journal import Journal
from jobs.slurm.queue import Job
from jobs.slurm.submitting import QueueFullError
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig


class Clock:
    """Time passes only while somebody sleeps."""

    now = 1e6

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


class Slurm:
    """Takes `limit` jobs, refuses the calls that it is told to, and is done with a job after a minute."""

    def __init__(self, clock: Clock, limit: int, refused: set[int]) -> None:
        self.clock, self.limit, self.refused = clock, limit, refused
        self.calls, self.asked, self.most = 0, [], 0
        self.jobs: dict[str, tuple[float, Any]] = {}  # id -> when it ends, where that is noted

    def submit(self, submission: Submission, journal: Journal, arrays: list[Array], known: dict[str, str]) -> None:
        self.calls += 1
        if self.calls in self.refused:
            raise QueueFullError("AssocMaxSubmitJobLimit")
        for array in arrays:
            journal.intend(array, array.name)
            journal.submitted(array, str(len(self.jobs) + 1))
            for name, job in array.job_ids(str(len(self.jobs) + 1)).items():
                self.jobs[job] = (self.clock.now + 60, submission.attempt.ending(name))
        journal.released()
        self.most = max(self.most, len(self.live()))
        assert self.most <= self.limit

    def live(self) -> list[str]:
        return [job for job, (end, _) in self.jobs.items() if end > self.clock.now]

    def ask(self, wanted: set[str]) -> dict[str, Job]:
        self.asked.append(self.clock.now)
        for end, path in self.jobs.values():
            if end <= self.clock.now and not path.exists():
                ending = {"element": "x", "exit_code": 0, "restarts": 0, "stopped": "", "seconds": 1.0}
                path.write_text(json.dumps(ending))
        return {job: Job("RUNNING" if job in self.live() else "COMPLETED") for job in self.jobs}


@pytest.fixture
def drive(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Board, Slurm, list[str]]]:
    def fill(refused: set[int], max_submit: int | None = 5) -> tuple[Board, Slurm, list[str]]:
        run = make_run(sweep={}, predict={"num_shards": 12, "shards_per_job": 1, "baseline": False})
        values = run.config.to_dict()
        cluster = {**values["cluster"], "scheduler": "slurm", "max_submit": max_submit}
        config = SFTConfig.model_validate({**values, "cluster": cluster})
        need = full_need(run.cells, run.num_shards)
        elements = plan_elements(run.paths.root, config, need, lambda cell: config)
        clock = Clock()
        slurm = Slurm(clock, max_submit or 99, refused)
        for module, name, value in (
            (driving.time, "sleep", clock.sleep), (driving.time, "monotonic", clock), (queue.time, "time", clock),
            (driving, "submit", slurm.submit), (queue, "ask", slurm.ask),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, value)
        said: list[str] = []
        board = open_board(Submission(run, new_attempt(run.paths), elements, config, Path("/code")), {})
        fill_queue(board, lambda notes: None, said.append)
        return board, slurm, said

    return fill


@pytest.mark.parametrize("refused", [set(), {1}, {2, 3}])
def test_what_does_not_fit_goes_in_later(
    drive: Callable[..., tuple[Board, Slurm, list[str]]], refused: set[int]
) -> None:
    """Also where sbatch refuses because other jobs of the same user fill the queue: at the first array, or later."""
    board, slurm, said = drive(refused)
    assert not board.pending and len(slurm.jobs) == 15  # preparation, training, twelve shards, merge
    assert slurm.most <= 5 and slurm.calls > len(refused)
    assert all(later - earlier >= 30 for earlier, later in zip(slurm.asked, slurm.asked[1:], strict=False))
    assert "cluster.max_submit is 5" in said[1]
    if refused == {1}:
        assert said[0] == "submitted      nothing yet"


def test_without_a_known_limit_a_refusal_is_an_error(drive: Callable[..., tuple[Board, Slurm, list[str]]]) -> None:
    with pytest.raises(QueueFullError, match="AssocMaxSubmitJobLimit"):
        drive({1}, max_submit=None)
