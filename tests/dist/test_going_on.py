"""Killed, stopped and asked to stop, a training on two ranks goes on to the very same losses and weights."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
import yaml

from benchmarks.hanging import wait_for
from benchmarks.killed_training import TOLERANCE, Training, difference, kill_a_rank
from benchmarks.parallel import write_experiment
from sftlib.errors import STOP_VARIABLE
from sftlib.paths import CHECKPOINT_MARK

pytestmark = pytest.mark.slow
STEPS = 80  # enough that a quick machine has not finished when the request arrives


@pytest.fixture(scope="module")
def experiment(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("going"), tiny_model)


@pytest.mark.parametrize(("strategy", "way"), [("ddp", "signal"), ("fsdp", "stop file")])
def test_killed_and_stopped_it_ends_where_it_would_have_ended(
    experiment: Path, tmp_path: Path, strategy: str, way: str
) -> None:
    alone, hurt = (Training(tmp_path / name, experiment, strategy, STEPS) for name in ("alone", "hurt"))
    alone.finish()
    if strategy == "ddp":
        process = hurt.start()
        hurt.wait_for_step(process, 6)
        kill_a_rank(hurt, process, random.Random(1))
    stop(hurt, way, max(hurt.losses(), default=0) + 1, tmp_path)
    hurt.finish()
    loss, weight = difference(hurt, alone)
    assert loss <= TOLERANCE and weight <= TOLERANCE


def stop(training: Training, way: str, step: int, folder: Path) -> None:
    """Ask once the training is under way; it must answer with a whole checkpoint, exit 75, at most one step later."""
    file = folder / f"stop-{step}"
    process = training.start(**{STOP_VARIABLE: str(file)})
    asked_at = training.wait_for_step(process, step)
    if way == "stop file":
        file.touch()
    else:
        os.kill(process.pid, signal.SIGUSR1)  # to the launcher, as a batch system does
    assert process.wait(120) == 75, training.log()
    marks = [json.loads(mark.read_text()) for mark in training.cell.checkpoints.glob(f"*/{CHECKPOINT_MARK}")]
    last = max(mark["step"] for mark in marks)
    assert last == max(training.losses()), "nothing was trained after the checkpoint"
    assert last < STEPS and last >= asked_at
    assert not training.cell.summary.exists()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_training_that_diverges_ends_on_all_ranks(experiment: Path, tmp_path: Path, strategy: str) -> None:
    values = yaml.safe_load(experiment.read_text())
    path = experiment.with_name("wild.yaml")
    path.write_text(yaml.safe_dump({**values, "train": {**values.get("train", {}), "learning_rate": 1e30}}))
    wild = Training(tmp_path / "wild", path, strategy, 12)
    (code,) = wait_for([wild.start()], tmp_path / "wild" / "log", 300)
    assert code == 1, wild.log()
    assert "is no number (at step" in wild.log() and "lower train.learning_rate = 1e+30" in wild.log()
    assert not wild.cell.summary.exists() and not wild.cell.adapter.exists()
