"""A small valid experiment with its data, run directories made from it, and the stand-in for the run side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sftlib.artifacts.processes import Process
from sftlib.config.load import Experiment, load_experiment
from sftlib.config.rundir import Run, prepare_run, read_splits

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]
FAKE_STAGE = [sys.executable, str(HERE / "fake_stage.py")]


def records(count: int, start: int = 0) -> str:
    rows = [
        {"id": f"r{i}", "text": f"text {i + start}", "label": "hate" if i % 3 else "normal", "group": "ab"[i % 2]}
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def experiment_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes an experiment; keyword arguments replace or add sections."""

    def write(**sections: Any) -> Path:
        (tmp_path / "train.jsonl").write_text(records(40))
        (tmp_path / "test.jsonl").write_text(records(12, start=100))
        values = {
            "name": "tiny",
            "data": {"train": "train.jsonl", "test": "test.jsonl", "group_columns": ["group"]},
            "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"},
            "model": {"name_or_path": "org/model"},
            "sweep": {"grid": {"lora.r": [4, 8]}},
            "predict": {"num_shards": 4, "shards_per_job": 2},
            "cluster": {"profile": "local", "slots": 2},
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**values, **sections}))
        return path

    return write


@pytest.fixture
def experiment(experiment_file: Callable[..., Path]) -> Callable[..., Experiment]:
    return lambda **sections: load_experiment(experiment_file(**sections), [], "local")


@pytest.fixture
def make_run(experiment: Callable[..., Experiment], tmp_path: Path) -> Callable[..., Run]:
    """A run directory in which nothing has run yet."""

    def make(**sections: Any) -> Run:
        one = experiment(**sections)
        return prepare_run(one, read_splits(one), tmp_path / "runs", {})

    return make


@pytest.fixture
def behave(tmp_path: Path) -> Callable[..., None]:
    """Tells the stand-in what an element does: `behave(run, {"train/r4": {"exit": 65}})`."""

    def write(run: Run, behaviours: dict[str, dict[str, Any]]) -> None:
        (run.paths.root / "behaviours.json").write_text(json.dumps(behaviours))

    return write


@pytest.fixture
def child_environment() -> dict[str, str]:
    """For processes that tests start: this source tree, one thread."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def ended_processes() -> Iterator[list[Process]]:
    """Processes that a test expects to be gone; whatever still lives after it is killed by its id."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()


def trace(run: Run) -> list[dict[str, Any]]:
    """What the stand-in did, in order: {"event", "element", "time", "pid"}."""
    path = run.paths.root / "trace.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def events() -> Callable[[Run], list[dict[str, Any]]]:
    return trace
