"""A setting that no stage obeys yet is refused by name, never ignored."""

from __future__ import annotations

import pytest

from jobs import unbuilt
from jobs.unbuilt import refuse_unbuilt
from sftlib.config.load import load_experiment
from sftlib.errors import SftError
from tests.conftest import PROJECT


def test_unbuilt_settings_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"train.epochs 7": ("training", lambda config: config.train.epochs == 7)}
    monkeypatch.setattr(unbuilt, "_SETTINGS", asked)
    monkeypatch.setattr(unbuilt, "UNBUILT", {"train.epochs 7": "training"})
    path = PROJECT / "configs" / "experiments" / "demo_cpu.yaml"
    refuse_unbuilt(cell.config for cell in load_experiment(path, [], "local").cells)
    experiment = load_experiment(path, ["train.epochs=7"], "local")
    with pytest.raises(SftError, match=r"train\.epochs 7' is not built yet"):
        refuse_unbuilt(cell.config for cell in experiment.cells)
