"""Preset, file, profile and --set, in this order; variables and secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sftlib.config.layers import collect, names_in, reveal
from sftlib.config.load import load_experiment
from sftlib.config.problems import ConfigError
from sftlib.config.tree import SFTConfig
from tests.conftest import PROJECT
from tests.posts import write_experiment

PRESETS = {
    "default": {"r": 32, "alpha": 32, "learning_rate": 2e-4, "epochs": 3},
    "high_capacity": {"r": 64, "alpha": 64, "learning_rate": 1e-4, "epochs": 3},
    "memory_efficient": {"r": 16, "alpha": 16, "learning_rate": 3e-4, "epochs": 3},
    "quick_test": {"r": 8, "alpha": 8, "learning_rate": 2e-4, "epochs": 1},
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_give_their_values(tmp_path: Path, name: str) -> None:
    path = write_experiment(tmp_path, "some/model")
    values = json.loads(path.read_text())
    del values["lora"], values["train"]
    path.write_text(json.dumps({**values, "preset": name}))
    config = load_experiment(path, [], "local").config
    found = {
        "r": config.lora.r,
        "alpha": config.lora.alpha,
        "learning_rate": config.train.learning_rate,
        "epochs": config.train.epochs,
    }
    assert found == PRESETS[name]
    assert config.lora.target_modules == ["q_proj", "v_proj"] and config.train.weight_decay == 0.01
    assert config.train.scheduler == "cosine" and config.train.warmup_ratio > 0


def test_every_preset_is_known_here() -> None:
    assert names_in("configs", "presets") == sorted(PRESETS)


def test_the_default_preset_says_what_the_tree_has_by_itself() -> None:
    values = yaml.safe_load((PROJECT / "configs/presets/default.yaml").read_text())
    values.pop("description")
    values["train"]["learning_rate"] = float(values["train"]["learning_rate"])
    assert SFTConfig.model_validate(values) == SFTConfig()


def test_order_of_layers(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "some/model", preset="high_capacity", lora={"r": 5})
    (tmp_path / "site.yaml").write_text(
        "cluster: {scheduler: slurm, partition: gpu}\nparallel: {gpus_per_node: 4, strategy: ddp}\n"
    )
    config = load_experiment(path, ["parallel.gpus_per_node=2"], "site.yaml").config
    assert config.lora.r == 5  # the file over the preset
    assert config.cluster.partition == "gpu" and config.cluster.profile == "site.yaml"
    assert config.parallel.gpus_per_node == 2  # --set over the profile
    assert config.train.weight_decay == 0.01  # the preset under the file


@pytest.mark.parametrize(
    "file", sorted((PROJECT / "configs" / "experiments").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_experiment_of_the_project_is_valid(file: Path) -> None:
    experiment = load_experiment(file, [], "slurm")
    assert experiment.cells


@pytest.mark.parametrize("file", sorted((PROJECT / "slurm" / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_is_valid(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.sif").touch()
    monkeypatch.setenv("SFT_IMAGE", str(tmp_path / "image.sif"))
    load_experiment(write_experiment(tmp_path, "some/model"), [], str(file))


@pytest.mark.parametrize("file", sorted((PROJECT / "configs" / "prompts").glob("*.json")), ids=lambda path: path.stem)
def test_every_strategy_fills_an_experiment(file: Path, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "some/model", prompt={"system": None})
    for name, strategy in json.loads(file.read_text())["strategies"].items():
        config = load_experiment(path, [f"prompt.strategy_file={file}", f"prompt.strategy={name}"], "local").config
        assert config.prompt.system == strategy["system_prompt"]
        assert config.prompt.user == strategy["user_template"]
        assert config.predict.max_new_tokens == strategy["parameters"]["max_tokens"]
        assert strategy["description"] and "{text}" in strategy["user_template"]


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "some/model")
    other = tmp_path / "same.yaml"
    other.write_text(yaml.safe_dump(json.loads(path.read_text())))
    assert load_experiment(path, [], "local").config == load_experiment(other, [], "local").config


def test_variables_are_replaced_and_missing_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_RUN", "from-env")
    path = write_experiment(tmp_path, "some/model", name="${MY_RUN}", description="${NOT_THERE:-fallback}")
    config = load_experiment(path, [], "local").config
    assert (config.name, config.description) == ("from-env", "fallback")
    monkeypatch.delenv("MY_RUN")
    with pytest.raises(ConfigError, match="the environment has no MY_RUN"):
        load_experiment(path, [], "local")


def test_a_secret_stays_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hunter2")
    path = write_experiment(tmp_path, "some/model", description="key ${MY_API_KEY}")
    config = load_experiment(path, [], "local").config
    assert "hunter2" not in json.dumps(config.to_dict())
    assert reveal(config.description) == "key hunter2"


def test_numbers_and_words_are_read_as_written(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "some/model")
    config = load_experiment(
        path, ["train.learning_rate=1e-4", "task.labels=[no, hate]", "name=0x1f-run"], "local"
    ).config
    assert config.train.learning_rate == 1e-4
    assert config.task.labels == ["no", "hate"]


@pytest.mark.parametrize(
    ("item", "value"),
    [
        (f"container.sha256={'1' * 64}", "1" * 64),
        ("prompt.date=2026-01-02", "2026-01-02"),
        ("model.revision=1e5", "1e5"),
        ("model.revision=null", None),
        ("prompt.user={text}: why? #1", "{text}: why? #1"),
        ("prompt.user='{text}: quoted'", "{text}: quoted"),
        ("train.run_name=", None),
        ("description=", ""),
        ("data.id_column=007", "007"),
        ("task.labels=[1, 2024-01-01]", ["1", "2024-01-01"]),
        ("cluster.environment.LEVEL=1", {"LEVEL": "1"}),
        ("lora.target_modules=[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("train.learning_rate=1e-4", 1e-4),
        ("train.gradient_checkpointing=true", True),
        ("train.max_steps=null", None),
    ],
)
def test_a_setting_is_read_as_its_key_asks(item: str, value: object, tmp_path: Path) -> None:
    """YAML would make numbers, dates, mappings and comments of texts; and of `1e5,2e5` a sweep over numbers."""
    path = write_experiment(tmp_path, "some/model")
    values = collect(path, [item], "local").values
    section, _, name = item.partition("=")[0].partition(".")
    found = values[section][name.partition(".")[0]] if name else values[section]
    assert found == value


def test_a_sweep_over_texts_keeps_them(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "some/model", sweep={})
    cells = load_experiment(path, ["model.revision=1e5,20240101"], "local").trained_cells
    assert [cell.config.model.revision for cell in cells] == ["1e5", "20240101"]


def test_schema_documents_every_key() -> None:
    def undocumented(schema: dict, where: str) -> list[str]:
        own = [
            f"{where}.{name}" for name, field in schema.get("properties", {}).items() if not field.get("description")
        ]
        return own + [item for name, inner in schema.get("$defs", {}).items() for item in undocumented(inner, name)]

    assert undocumented(SFTConfig.model_json_schema(), "SFTConfig") == []
