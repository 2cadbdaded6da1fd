"""`sft run`, again, `sft rerun` and `sft status` on one experiment, as a script calls them; stages are stand-ins."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import chain
from jobs.cli import main
from jobs.commands import rerun, run
from sftlib.config.load import Experiment
from sftlib.config.rundir import open_run, prepare_run, read_splits
from sftlib.errors import InputError

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


def test_run_again_rerun_status(experiment_file, tmp_path, monkeypatch, capsys) -> None:
    for module in (run, rerun):
        monkeypatch.setattr(module, "Chain", functools.partial(chain.Chain, command=FAKE_STAGE))
    path = experiment_file(sweep={}, predict={"num_shards": 2, "shards_per_job": 2, "baseline": False})
    arguments = ["run", str(path), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    outcome = json.loads(printed.out)
    latest = tmp_path / "runs" / "latest"
    assert outcome["run_dir"] == str(latest.resolve()) and outcome["report"].endswith("report.html")
    assert set(outcome["elements"].values()) == {"done"} and "train/main" in printed.err
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "nothing to do" in printed.out and ".500 [.400-.600]" in printed.out
    (latest / "cells/main/predictions/part-00001-of-00002.parquet").write_text("shorter")
    assert main(["rerun", str(latest)]) == 0
    printed = capsys.readouterr()
    assert "reusing        1 of 1 adapter, 1 of 2 shards" in printed.out and "predict/main/1-1" in printed.out
    assert main(["status", str(latest), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["complete"] and {row["state"] for row in status["rows"]} == {"done"}


def test_a_run_of_another_version_is_named_not_a_traceback(
    experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    chosen = experiment()
    run = prepare_run(chosen, read_splits(chosen), tmp_path / "runs", {})
    record = json.loads(run.paths.record.read_text())
    record["config"]["predict"]["a_knob_that_went"] = 3
    run.paths.record.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"predict\.a_knob_that_went; use the version that made the run"):
        open_run(run.paths.root)
