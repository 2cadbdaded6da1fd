"""What a user sees for a wrong file: every problem at once, with place, key, value, expectation and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftlib.config.load import load_experiment
from sftlib.config.problems import ConfigError
from tests.posts import write_experiment, write_posts


def problems_of(path: Path, *overrides: str, profile: str | None = "local") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, list(overrides), profile)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, "some/model")


def test_five_mistakes_are_five_numbered_problems(tmp_path: Path) -> None:
    write_posts(tmp_path / "test.jsonl", 3)
    file = tmp_path / "bad.yaml"
    file.write_text(
        "data: {train: nowhere.jsonl, test: test.jsonl}\n"
        "task: {type: classification, labels: [hate, normal], positive: hate}\n"
        "train:\n"
        "  learnig_rate: 1e-4\n"
        "  precision: bf61\n"
        "  packing: true\n"
        "  group_by_length: true\n"
        'lora: {r: "16"}\n'
    )
    found = problems_of(file)
    assert len(found) == 5
    text = "\n".join(found)
    assert f"{file}:4: train.learnig_rate" in text and "did you mean 'learning_rate'?" in text
    assert f"{file}:8: lora.r = '16': expected a whole number; write 16 without quotes" in text
    assert f"{file}:5: train.precision = 'bf61': expected one of auto, bf16, fp16, fp32; did you mean 'bf16'?" in text
    assert f"{file}:1: data.train.path" in text and "there is no such file" in text
    assert f"{file}:7: train.group_by_length" in text
    with pytest.raises(ConfigError, match="5 problems found"):
        load_experiment(file, [], "local")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=0", "above 0"),
        ("train.epochs=true", "a number"),
        ("lora.r=1.5", "a whole number"),
        ("lora=3", "keys with values"),
        ("task.positive=hat", "did you mean 'hate'?"),
        ("predict.method=guess", "expected one of auto, score, generate"),
        ("data.test.subset=none", "a whole number"),
        ("data.sample_size=many", "a whole number"),
        ("data.validation_size=many", "a whole number, or a number"),
        ("parallel={nodes: 4, strategy: ddp}", "the local profile is one machine"),
        ("parallel.gpus_per_node=2", "single is one process"),
        ("sweep.grid={lora.rank: [1]}", "no such key"),
        ("sweep.grid={cluster.slots: [1]}", "cannot be swept"),
        ("sweep.grid={data.train.path: [a, b]}", "all cells share their records"),
        ("sweep.grid={data.test: [a, b]}", "all cells share their records"),
        ("sweep.grid={lora.r: []}", "at least one value"),
        ("sweep.random={lora.r: {choice: [1]}}", "number of draws"),
        ("train.early_stopping_patience=2", "needs validation records"),
        ("container.runtime=apptainer", "needs an image"),
        ("model.name_or_path=./nowhere", "there is no such folder"),
        ("prompt.strategy_file=hate_spech", "did you mean 'hate_speech'?"),
        ("preset=defalt", "did you mean 'default'?"),
        ("name=a/b", "expected up to 64 letters a-z, digits"),
        ("nonsense=1", "unknown key"),
        ("model.quantization.kind=nf5", "did you mean 'nf4'?"),
    ],
)
def test_one_wrong_value_is_one_clear_problem(good: Path, override: str, expected: str) -> None:
    found = problems_of(good, override)
    assert len(found) == 1, found
    assert expected in found[0]


def test_unknown_strategy_names_the_known_ones(good: Path) -> None:
    found = problems_of(good, "prompt.strategy_file=hate_speech", "prompt.strategy=baseline")
    assert "did you mean 'baseline_standard'?" in found[0]


def test_files_that_are_no_experiment(tmp_path: Path) -> None:
    for text, expected in [
        ("", "is empty"),
        ("- a\n", "expected keys with values"),
        ("a: [1\n", "not valid YAML"),
        ("name: a\nname: b\n", "stands twice; first in line 1"),
        ("name: \x00\n", "not valid YAML"),
    ]:
        file = tmp_path / "x.yaml"
        file.write_text(text)
        assert expected in problems_of(file)[0], text
    assert "no such file" in problems_of(tmp_path / "missing.yaml")[0]
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe")
    assert "cannot be read" in problems_of(tmp_path / "x.yaml")[0]


def test_a_sweep_value_that_a_cell_refuses_is_named(good: Path) -> None:
    experiment = load_experiment(good, ["sweep.grid={lora.r: [8, 0]}"], "local")
    with pytest.raises(ConfigError, match="r = 0: expected a value of at least 1"):
        _ = experiment.cells


def test_problems_have_a_machine_readable_form(good: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(good, ["lora.r=x"], "local")
    value = json.loads(json.dumps([problem.as_json() for problem in caught.value.problems]))
    assert value == [{"place": "--set", "key": "lora.r", "value": "'x'", "message": "expected a whole number"}]
