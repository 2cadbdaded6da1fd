"""`sft stage` as a script calls it, and runs that find something of it gone or changed: before anything is started."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import chain
from jobs.cli import main
from jobs.commands import rerun, run
from jobs.staging import staged_for
from sftlib.artifacts.staged import read_staged_manifest
from sftlib.config.rundir import open_run

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub library's cache as a download leaves it, of two models and a tokenizer."""
    for name in ("model", "other", "tokenizer"):
        root = tmp_path / "hub" / f"models--org--{name}"
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text("c0ffee")
        folder = root / "snapshots" / "c0ffee"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "notes.json").write_text(json.dumps({"of": name}))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SFTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "audit_run", lambda *_: None)  # it would look for a tokenizer
    for module in (run, rerun):
        monkeypatch.setattr(module, "Chain", functools.partial(chain.Chain, command=FAKE_STAGE))
    return tmp_path / "hub"


def stage(path: Path) -> list[str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", "sftlib", "stage", str(path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_all_that_a_sweep_names_is_staged_and_looked_at_again(hub: Path, experiment_file, tmp_path, capsys) -> None:
    path = experiment_file(
        model={"name_or_path": "org/model", "tokenizer": "org/tokenizer"},
        sweep={"grid": {"model.name_or_path": ["org/model", "org/other"]}},
        predict={"num_shards": 1, "baseline": False},
    )
    folders = [hub / f"models--org--{name}" / "snapshots" / "c0ffee" for name in ("model", "other", "tokenizer")]
    assert stage(path) == [str(folder) for folder in folders]
    arguments = ["run", str(path), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]
    assert main(arguments) == 0
    directory = open_run(tmp_path / "runs" / "latest")
    staged = [read_staged_manifest(Path(manifest)) for manifest in staged_for(directory)]
    assert {(one.kind, one.name, one.commit) for one in staged} == {
        ("model", "org/model", "c0ffee"), ("model", "org/other", "c0ffee"), ("tokenizer", "org/tokenizer", "c0ffee"),
    }  # fmt: skip
    assert [file.name for file in staged[0].files] == ["config.json", "notes.json"]

    (folders[1] / "config.json").write_text("[]")
    os.utime(folders[1] / "config.json", (1e9, 1e9))  # another day
    capsys.readouterr()
    assert main(["plan", *arguments[1:]]) == 2
    said = capsys.readouterr().err
    assert f"model.name_or_path = 'org/other': model org/other: {folders[1] / 'config.json'} has sha256" in said, said
    assert "run sft stage again" in said


def test_what_goes_after_the_submission_stops_the_element_before_its_stage(
    hub: Path, experiment_file, tmp_path, capsys
) -> None:
    path = experiment_file(sweep={}, predict={"num_shards": 1, "baseline": False})
    stage(path)
    weights = hub / "models--org--model" / "snapshots" / "c0ffee" / "config.json"
    arguments = ["run", str(path), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]
    gone = functools.partial(chain.Chain, command=FAKE_STAGE)

    def chain_after_damage(**fields):
        weights.unlink()  # between plan and start
        return gone(**fields)

    run.Chain = chain_after_damage
    assert main(arguments) == 3
    root = (tmp_path / "runs" / "latest").resolve()
    log = (root / "jobs" / "attempt-001" / "train.main.log").read_text()
    assert f"{weights} cannot be read (No such file or directory); it was staged with 2 bytes" in log
    assert json.loads((root / "jobs" / "attempt-001" / "train.main.ending.json").read_text())["exit_code"] == 64
    assert [json.loads(line)["element"] for line in (root / "trace.jsonl").read_text().splitlines()] == ["merge"] * 2
