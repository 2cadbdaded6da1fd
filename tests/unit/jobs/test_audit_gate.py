"""`sft run` starts nothing on data that the audit calls wrong, and `sft plan` remembers it."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import pytest

from jobs import audit, chain
from jobs.cli import main
from jobs.commands import rerun, run

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


@pytest.fixture
def leaking(experiment_file, tmp_path, monkeypatch) -> Path:
    for module in (run, rerun):
        monkeypatch.setattr(module, "Chain", functools.partial(chain.Chain, command=FAKE_STAGE))
    path = experiment_file(sweep={}, predict={"num_shards": 1, "baseline": False})
    (tmp_path / "test.jsonl").write_text((tmp_path / "train.jsonl").read_text())
    return path


def test_an_error_stops_the_run_and_an_accepted_one_does_not(leaking, tmp_path, capsys) -> None:
    words = [str(leaking), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]
    assert main(["run", *words]) == 2
    error = capsys.readouterr().err
    assert "40 of 40 test records (100.0%)" in error and "remedy" in error and "data.accept: [leakage]" in error
    latest = tmp_path / "runs" / "latest"
    assert json.loads((latest / "audit.json").read_text())["errors"] == 1
    assert not list(latest.glob("jobs/attempt-*")) and not (latest / "trace.jsonl").exists()
    assert main(["plan", *words]) == 2 and "data.accept" in capsys.readouterr().err
    assert main(["rerun", str(latest)]) == 2
    capsys.readouterr()
    assert main(["run", *words, "--set", "data.accept=[leakage]"]) == 0
    assert "audit          2 to look at" in capsys.readouterr().out
    found = {finding["kind"]: finding for finding in json.loads((latest / "audit.json").read_text())["findings"]}
    assert (found["leakage"]["level"], found["leakage"]["accepted"]) == ("warning", True)
    assert not found["thin_group"]["accepted"]
    assert main(["plan", *words, "--set", "data.accept=[leakage]"]) == 0


def test_an_audit_that_dies_stops_the_run(leaking, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(audit.sys, "executable", "/bin/false")
    assert main(["run", str(leaking), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]) == 1
    assert "the audit could not be done (exit 1)" in capsys.readouterr().err
