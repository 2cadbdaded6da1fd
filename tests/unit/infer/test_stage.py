"""The prediction stage on a run directory: every shard once, nothing foreign, nothing changed behind its back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sftlib.artifacts.progress import Progress, ProgressFile
from sftlib.artifacts.shards import VALID, check_shard, read_shard
from sftlib.config.rundir import Run, open_run, open_target
from sftlib.data.samples import samples_of
from sftlib.errors import CorruptError, DataError, InputError
from sftlib.infer.command import parse_shards
from sftlib.infer.stage import Predictor, predict_shards
from sftlib.paths import CHAT_TEMPLATE
from sftlib.train.command import run as train_command  # noqa: F401 (imported here once: its imports take seconds)
from sftlib.train.trainer import SFTTrainer
from tests.posts import write_experiment, write_posts

SILENT = ProgressFile(None, Progress("predict", "predict", "main"))


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("experiment")
    run = open_target(write_experiment(folder, tiny_model, predict={"num_shards": 3}), [], folder / "runs")
    SFTTrainer(run.cell_config("main"), output_dir=run.paths.cell("main").root).train()
    return run


def rows(run: Run, cell: str) -> list[dict]:
    return [
        row for i in range(run.num_shards) for row in read_shard(run.paths.cell(cell), i, run.num_shards).to_pylist()
    ]


def test_a_cell_and_the_baseline_answer_every_record_once(trained: Run) -> None:
    for cell in ("main", "baseline"):
        assert predict_shards(trained, cell, range(3), SILENT) == 3
        found = rows(trained, cell)
        assert [row["sample_id"] for row in found] == [f"p{i}" for i in range(1000, 1018)]
        assert [row["row"] for row in found] == list(range(18))
        assert all(row["prediction"] in ("hate", "normal") and 0 <= row["score"] <= 1 for row in found)
        assert found[0]["group.target_group_norm"] == "north" and found[0]["source"] == "forum"
    assert predict_shards(trained, "main", range(3), SILENT) == 0  # nothing is done twice


def test_a_shard_that_was_damaged_is_predicted_again_and_equal(trained: Run) -> None:
    predict_shards(trained, "main", range(3), SILENT)
    before = rows(trained, "main")
    paths = trained.paths.cell("main")
    content = bytearray(paths.shard(1, 3).read_bytes())
    content[len(content) // 2] ^= 1
    paths.shard(1, 3).write_bytes(content)
    paths.shard_manifest(2, 3).unlink()
    assert predict_shards(trained, "main", range(3), SILENT) == 2
    assert rows(trained, "main") == before


def test_what_a_killed_process_left_goes_though_every_shard_is_there(trained: Run) -> None:
    predict_shards(trained, "main", range(3), SILENT)
    left = trained.paths.cell("main").predictions / ".claim.abc.tmp"
    left.write_text("{}")
    assert predict_shards(trained, "main", range(3), SILENT) == 0
    assert not left.exists() and len(list(left.parent.iterdir())) == 6


def test_an_adapter_answers_only_the_prompt_it_was_trained_with(trained: Run) -> None:
    config = trained.cell_config("main")
    other = config.model_copy(update={"prompt": config.prompt.model_copy(update={"system": "another question"})})
    with pytest.raises(InputError, match="was trained with another prompt"):
        Predictor(other, trained.paths.cell("main").adapter)


def test_the_adapter_loads_with_plain_peft(trained: Run, tiny_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = trained.paths.cell("main").adapter
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter))
    assert any(parameter.abs().sum() > 0 for name, parameter in model.named_parameters() if "lora_B" in name)
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md", "sftlib.json"} <= {
        path.name for path in adapter.iterdir()
    }


def test_a_test_file_that_changed_after_planning_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    run = open_target(write_experiment(tmp_path, tiny_model), [], tmp_path / "runs")
    write_posts(tmp_path / "test.jsonl", 18, start=2000)
    with pytest.raises(DataError, match="was changed after the run was planned"):
        predict_shards(run, "baseline", [0], SILENT)


def test_a_cell_configuration_that_was_edited_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    run = open_target(write_experiment(tmp_path, tiny_model), [], tmp_path / "runs")
    path = run.paths.cell("main").config
    path.write_text(path.read_text().replace('"r": 4', '"r": 5'))
    with pytest.raises(CorruptError, match="was changed after it was written"):
        run.cell_config("main")


def test_shards_are_contiguous_and_never_more_than_records(tiny_model: Path, tmp_path: Path) -> None:
    run = open_target(write_experiment(tmp_path, tiny_model, test=3, predict={"num_shards": 8}), [], tmp_path / "runs")
    assert run.num_shards == 3
    predict_shards(run, "baseline", range(3), SILENT)
    assert all(
        check_shard(run.paths.cell("baseline"), i, 3, run.known_parts("baseline")).state == VALID for i in range(3)
    )


def test_generation_keeps_raw_text_and_reasons(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"method": "generate", "max_new_tokens": 4, "num_shards": 1}
    run = open_target(write_experiment(tmp_path, tiny_model, test=5, predict=settings), [], tmp_path / "runs")
    predict_shards(run, "baseline", [0], SILENT)
    for row in rows(run, "baseline"):
        assert isinstance(row["raw"], str) and (row["prediction"] is None) == (row["reason"] is not None)


def test_shard_ranges_on_the_command_line() -> None:
    assert parse_shards(None, 3) == [0, 1, 2] and parse_shards("1", 3) == [1] and parse_shards("1-2", 3) == [1, 2]
    for wrong in ("3", "2-1", "x", "0-9"):
        with pytest.raises(InputError, match="--shards"):
            parse_shards(wrong, 3)


def test_the_manifest_tells_what_the_shard_depends_on(trained: Run) -> None:
    predict_shards(trained, "baseline", range(3), SILENT)
    manifest = json.loads(trained.paths.cell("baseline").shard_manifest(0, 3).read_text())
    assert set(manifest["parts"]) == {"adapter", "base", "prompt", "tokenizer", "test", "settings"}
    assert manifest["parts"]["adapter"] is None and manifest["row_count"] == 6


def test_a_part_that_is_split_off_train_is_the_same_in_every_stage(tiny_model: Path, tmp_path: Path) -> None:
    """Planned, trained around, predicted in shards that open the run anew, and merged."""
    from sftlib.report.merge import merge_run

    path = write_experiment(tmp_path, tiny_model, train=30, data={"test": None, "test_size": 0.4, "validation_size": 3})
    root = open_target(path, [], tmp_path / "runs").paths.root
    run = open_run(root)
    planned = [record.fields["original_id"] for record in run.split(run.config, "test").records]
    assert run.test_count == len(planned) == 12
    summary = SFTTrainer(run.cell_config("main"), output_dir=run.paths.cell("main").root).train()
    assert summary["records"] == 15
    for cell in ("main", "baseline"):
        for shard in range(2):
            predict_shards(open_run(root), cell, [shard], SILENT)
        assert [row["sample_id"] for row in rows(run, cell)] == planned
    assert merge_run(open_run(root), lambda: None)["complete"]
    assert pq.read_table(run.paths.report.predictions).num_rows == 24
    (tmp_path / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text() + "\n")
    with pytest.raises(DataError, match="was changed after the run was planned"):
        open_run(root).split(run.config, "test")


def test_the_templates_text_goes_with_the_adapter(tiny_model: Path, tmp_path: Path) -> None:
    """Whoever loads the adapter's folder renders the prompt that was trained, also with a template of sftlib's."""
    from transformers import AutoTokenizer

    path = write_experiment(tmp_path, tiny_model, prompt={"template": "instruction"})
    run = open_target(path, [], tmp_path / "runs")
    SFTTrainer(run.cell_config("main"), output_dir=run.paths.cell("main").root).train()
    predictor = Predictor(run.cell_config("main"), run.paths.cell("main").adapter)
    adapter = run.paths.cell("main").adapter
    assert (adapter / CHAT_TEMPLATE).read_text() == predictor.renderer.template.source
    sample = samples_of(run.split(run.config, "test"), run.config)[0]
    loaded = AutoTokenizer.from_pretrained(adapter)
    text = loaded.apply_chat_template(sample.messages, tokenize=False, add_generation_prompt=True)
    assert text == predictor.renderer.prompt(sample).text
