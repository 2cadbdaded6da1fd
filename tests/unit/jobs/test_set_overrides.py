"""`--set` with several values."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlib.config.load import load_experiment
from sftlib.config.overrides import settings, split_values
from sftlib.config.problems import ConfigError
from tests.conftest import PROJECT


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,2e-4", ["1e-4", "2e-4"]),
        ("[q_proj,v_proj]", ["[q_proj,v_proj]"]),
        ("[q_proj],[q_proj,v_proj]", ["[q_proj]", "[q_proj,v_proj]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ('"a,b"', ['"a,b"']),
        ("{a: 1,b: 2}", ["{a: 1,b: 2}"]),
        ("don't,won't", ["don't", "won't"]),
        ("Hello, world", ["Hello, world"]),
        ("1,", ["1,"]),
        ("", [""]),
    ],
)
def test_splitting(text: str, values: list[str]) -> None:
    assert split_values(text) == values


def cells(path: Path, *items: str) -> list[str]:
    return [cell.id for cell in load_experiment(path, settings(path, items), "local").trained_cells]


def test_values_become_cells_beside_those_of_the_file(experiment_file) -> None:
    path = experiment_file()
    assert cells(path) == ["r4", "r8"]
    assert cells(path, "train.learning_rate=1e-4,2e-4") == ["r4-lr0.0001", "r4-lr0.0002", "r8-lr0.0001", "r8-lr0.0002"]


def test_the_command_line_replaces_an_axis_of_the_file(experiment_file) -> None:
    path = experiment_file()
    assert cells(path, "lora.r=16,32") == ["r16", "r32"]
    assert cells(path, "lora.r=16") == ["main"], "one value: the file's axis must not win over it"
    assert load_experiment(path, settings(path, ["lora.r=16"]), "local").config.lora.r == 16
    assert cells(path, "sweep.grid={}", "train.seed=1,2") == ["s1", "s2"]


def test_lists_and_texts_stay_what_they_are(experiment_file) -> None:
    path = experiment_file(sweep={})
    items = settings(path, ["lora.target_modules=[q_proj,k_proj]", "description=a,b"])
    config = load_experiment(path, items, "local").config
    assert config.lora.target_modules == ["q_proj", "k_proj"] and config.description == "a,b"


def test_a_wrong_key_is_named(experiment_file) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        cells(experiment_file(), "train.learning_rat=1e-4,2e-4")
    with pytest.raises(ConfigError):
        cells(Path("/nowhere.yaml"), "lora.r=1,2")


def test_every_command_reads_settings_alike(tmp_path: Path) -> None:
    """A value fixed on the command line wins over the file's axis, for `sft train` as for `sft plan`."""
    path = tmp_path / "experiment.yaml"
    source = (PROJECT / "configs" / "experiments" / "demo_cpu.yaml").read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    fixed = [cell.id for cell in load_experiment(path, ["lora.r=64"], "local").cells if not cell.is_baseline]
    swept = [cell.id for cell in load_experiment(path, ["lora.r=4,64"], "local").cells if not cell.is_baseline]
    assert fixed == ["main"] and swept == ["r4", "r64"]
