"""Evaluation without training: the base model alone, and adapters that were trained elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs.missing import standings
from jobs.rows import _elements
from sftlib.__main__ import main
from sftlib.artifacts.adapters import read_adapter_record
from sftlib.config.cells import result_settings
from sftlib.config.load import Experiment, load_experiment
from sftlib.config.problems import ConfigError
from sftlib.config.rundir import open_target
from sftlib.paths import ADAPTER_RECORD
from tests.posts import write_posts
from tests.tiny import build_tiny_model

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, records, and an adapter of plain PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("evaluation only")
    model = AutoModelForCausalLM.from_pretrained(build_tiny_model(folder / "model"))
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder / "adapter")
    write_posts(folder / "test.jsonl", 4)
    return folder


def write(home: Path, name: str, further: str) -> Path:
    file = home / f"{name}.yaml"
    file.write_text(
        f"name: {name}\n"
        "data: {test: test.jsonl, label_column: label_binary}\n"
        "task: {type: classification, labels: [hate, normal], positive: hate}\n"
        "model: {name_or_path: model, dtype: float32}\n" + further
    )
    return file


def experiment(home: Path, further: str) -> Experiment:
    return load_experiment(write(home, "one", further), [], "local")


def test_without_training_the_cells_are_baselines_and_adapters(home: Path) -> None:
    nothing = experiment(home, "train: {enabled: false}\n")
    assert [(cell.id, cell.is_baseline) for cell in nothing.cells] == [("baseline", True)]
    one = experiment(home, "lora: {adapter: adapter}\n")  # a path beside the experiment
    assert [(cell.id, cell.is_baseline, cell.is_trained) for cell in one.cells] == [
        ("main", False, False),
        ("baseline", True, False),
    ]
    assert one.config.lora.adapter == str(home / "adapter")
    with pytest.raises(ConfigError, match=r"predict.baseline = False: leaves nobody to answer"):
        assert experiment(home, "train: {enabled: false}\npredict: {baseline: false}\n").cells
    with pytest.raises(ConfigError, match=r"data.train: is missing.*train.enabled: false, to evaluate only"):
        experiment(home, "")
    with pytest.raises(ConfigError, match=r"lora.adapter = .*adapter_config.json is missing"):
        experiment(home, "lora: {adapter: model}\n")


def test_another_adapter_in_the_folder_is_another_run(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / "adapter", tmp_path / "copy")

    def settings(path: Path) -> dict:
        return result_settings(experiment(home, f"lora: {{adapter: '{path}'}}\n").cells[0].config)

    assert settings(copy) == settings(home / "adapter")
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes() + b"\0")
    assert settings(copy) != settings(home / "adapter")


def test_an_adapter_from_elsewhere_answers_and_is_reported(home: Path, tmp_path: Path) -> None:
    file, runs = write(home, "two", "lora: {adapter: adapter}\n"), ["--runs-dir", str(tmp_path)]
    for command in ("train", "predict"):
        assert main([command, str(file), *runs]) == 0
    run = open_target(file, [], tmp_path)
    assert main(["merge", str(run.paths.root)]) == 0
    folder = run.paths.cell("main")
    assert (folder.adapter / WEIGHTS).read_bytes() == (home / "adapter" / WEIGHTS).read_bytes()
    assert run.why_untrained("main", deep=True) == ""
    before = folder.summary.stat().st_mtime_ns
    assert main(["train", str(run.paths.root)]) == 0 and folder.summary.stat().st_mtime_ns == before
    report = json.loads(run.paths.report.metrics_json.read_text())
    assert report["complete"] is True and set(report["cells"]) == {"main", "baseline"}
    tables = [cell["confusion"]["counts"] for cell in report["cells"].values()]
    assert all(sum(map(sum, table)) == 4 for table in tables)
    assert report["comparisons"] and json.loads(folder.summary.read_text())["taken_over"] == str(home / "adapter")


def test_what_number_type_it_answers_in_is_settled_where_it_answers(home: Path, tmp_path: Path) -> None:
    """The job that copies it has no GPU, whose types may be others."""
    for name in ("float16", "auto"):
        file = write(home, f"type-{name}", "lora: {adapter: adapter}\n")
        file.write_text(file.read_text().replace("float32", name))
        run = open_target(file, [], tmp_path)
        assert main(["train", str(run.paths.root)]) == 0
        assert getattr(read_adapter_record(run.paths.cell("main").adapter), "dtype", None) == name


def test_status_names_what_a_copy_asks_for(home: Path, tmp_path: Path) -> None:
    further = "train: {enabled: false}\nsweep: {list: [{id: a, lora.adapter: adapter}]}\n"
    run = open_target(write(home, "seven", further), [], tmp_path)
    standing = next(standing for standing in standings(run, deep=False) if standing.cell == "a")
    assert _elements(run, standing)[0].setting == "cluster.prepare"


def test_one_of_ours_is_held_to_what_it_was_trained_with(home: Path, tmp_path: Path) -> None:
    first = open_target(write(home, "three", "lora: {adapter: adapter}\n"), [], tmp_path)
    assert main(["train", str(first.paths.root)]) == 0
    ours = first.paths.cell("main").adapter
    other = write(home, "four", f"lora: {{adapter: '{ours}'}}\nprompt: {{user: 'Otherwise: {{text}}'}}\n")
    second = open_target(other, [], tmp_path)
    assert main(["train", str(second.paths.root)]) == 0
    known = read_adapter_record(second.paths.cell("main").adapter)
    assert known and known.prompt_sha256 == getattr(read_adapter_record(ours), "prompt_sha256", None)
    assert main(["predict", str(second.paths.root), "--cell", "main"]) == 2  # it says: trained with another prompt
    (ours / ADAPTER_RECORD).write_text((ours / ADAPTER_RECORD).read_text().replace(known.weights_sha256, "0" * 64))
    shutil.rmtree(second.paths.cell("main").adapter)
    assert main(["train", str(second.paths.root)]) == 2


def test_a_container_sees_the_adapters(home: Path, tmp_path: Path) -> None:
    from jobs.payload import binds

    further = "train: {enabled: false}\nsweep: {list: [{id: a, lora.adapter: adapter}]}\n"
    run = open_target(write(home, "six", further), [], tmp_path)
    assert [bind.is_read_only for bind in binds(run, run.config) if bind.source == str(home / "adapter")] == [True]


def test_other_kinds_of_adapters_are_refused(home: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(home / "adapter", tmp_path / "copy")
    about = json.loads((copy / "adapter_config.json").read_text()) | {"peft_type": "PREFIX_TUNING"}
    (copy / "adapter_config.json").write_text(json.dumps(about))
    file = write(home, "five", f"lora: {{adapter: '{copy}'}}\n")
    assert main(["train", str(file), "--runs-dir", str(tmp_path)]) == 2
