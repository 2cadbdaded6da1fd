"""train.save_merged_model as a stage of its own: planned after each cell's training, redone when it is missing or stale."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from jobs import chain
from jobs.cli import main
from jobs.commands import rerun, run
from jobs.missing import find_missing
from jobs.plan import FOLD, MERGE, full_need, plan_elements
from sftlib.config.load import load_experiment
from sftlib.config.rundir import open_run
from sftlib.paths import MERGED_RECORD

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


def test_each_trained_cell_is_folded_after_its_training(experiment_file, tmp_path) -> None:
    one = load_experiment(experiment_file(train={"save_merged_model": True}), [], "local")
    elements = plan_elements(tmp_path, one.config, full_need(one.cells, 4, fold=True), lambda cell: one.config)
    found = {element.id: element for element in elements if element.kind == FOLD}
    assert list(found) == ["fold/r4", "fold/r8"]
    assert found["fold/r4"].after == ("train/r4",) and found["fold/r4"].condition == "afterok"
    assert found["fold/r4"].argv == ("adapter", "merge", str(tmp_path), "--cell", "r4")
    assert set(found) < set(elements[-1].after) and elements[-1].kind == MERGE


def test_run_rerun_and_a_stale_merged_model(experiment_file, tmp_path, monkeypatch, capsys) -> None:
    for module in (run, rerun):
        monkeypatch.setattr(module, "Chain", functools.partial(chain.Chain, command=FAKE_STAGE))
    path = experiment_file(train={"save_merged_model": True}, sweep={}, predict={"num_shards": 1, "baseline": False})
    assert main(["plan", str(path), "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "fold" in capsys.readouterr().out
    assert main(["run", str(path), "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["elements"]["fold/main"] == "done"
    directory = open_run(tmp_path / "runs" / "latest")
    assert find_missing(directory, deep=True).is_nothing
    record = directory.paths.cell("main").merged / MERGED_RECORD
    record.write_text(record.read_text().replace('"adapter_sha256": "', '"adapter_sha256": "0'))
    need = find_missing(directory, deep=True)
    assert (need.fold, need.train, need.merge) == (("main",), (), False)
    main(["status", str(directory.paths.root), "--json"])
    states = {row["element"]: row["state"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert states["fold/main"] != "done" and states["train/main"] == "done"
    assert main(["rerun", str(directory.paths.root)]) == 0
    assert find_missing(directory, deep=True).is_nothing


def test_a_model_that_was_trained_whole_is_not_folded(experiment_file) -> None:
    from jobs.plan import folds

    one = load_experiment(
        experiment_file(train={"save_merged_model": True}, lora={"enabled": False}, sweep={}), [], "local"
    )
    assert not folds(one.config)
