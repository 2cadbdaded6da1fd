"""A setting that no stage obeys yet is refused by name, never ignored."""

from __future__ import annotations

import pytest

from jobs.unbuilt import refuse_unbuilt
from sftlib.config.load import load_experiment
from sftlib.errors import SftError
from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("override", "named"),
    [],
)
def test_unbuilt_settings_are_refused_by_name(override: str, named: str) -> None:
    path = PROJECT / "configs" / "experiments" / "demo_cpu.yaml"
    refuse_unbuilt(cell.config for cell in load_experiment(path, [], "local").cells)
    experiment = load_experiment(path, [override], "local")
    with pytest.raises(SftError, match=f"'{named}.* is not built yet"):
        refuse_unbuilt(cell.config for cell in experiment.cells)
