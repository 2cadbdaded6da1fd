"""What was typed on the command line, as the receipt keeps it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jobs.commands.options import add_experiment, given_settings
from jobs.commands.run import _receipt
from sftlib.config.load import load_experiment
from sftlib.config.rundir import open_target


def test_the_receipt_keeps_settings_as_they_were_typed(experiment_file, tmp_path: Path) -> None:
    path = experiment_file()
    parser = argparse.ArgumentParser()
    add_experiment(parser)
    typed = ["lora.r=16,32", "prompt.date=2026-01-02"]
    args = parser.parse_args([str(path), "--set", typed[0], "--set", typed[1], "--subset", "4"])
    assert given_settings(args) == [*typed, "data.test.subset=4"]
    experiment = load_experiment(path, given_settings(args), "local")
    assert _receipt(experiment, args)["settings"] == [*typed, "data.test.subset=4"]
    again = load_experiment(path, _receipt(experiment, args)["settings"], "local")
    assert [cell.digest for cell in again.cells] == [cell.digest for cell in experiment.cells]


def test_a_stage_by_hand_keeps_them_too(experiment_file, tmp_path: Path) -> None:
    run = open_target(experiment_file(), ["lora.r=16"], tmp_path / "runs")
    assert json.loads(run.paths.record.read_text())["receipt"]["settings"] == ["lora.r=16"]
