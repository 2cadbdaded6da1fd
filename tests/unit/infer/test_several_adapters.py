"""Several cells in one process share one loaded base, and each answers as it does alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sftlib.__main__ import main
from sftlib.artifacts.shards import read_shard
from sftlib.config.rundir import Run, open_target
from sftlib.infer import stage, transformers_engine
from sftlib.infer.stage import Predictor
from tests.posts import write_experiment

# Kinds of adapters, among them those of which more than LoRA layers must be taken off again.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "biases": {"bias": "lora_only"},
    "head": {"modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
}
QUANTIZED = ("none", "nf4", "int8")


def put_adapter(folder: Path, model: Path, seed: int, **values: Any) -> None:
    """A trained adapter's files, with random weights that change every answer."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **values}, init_lora_weights=False)  # fmt: skip
    tuned = get_peft_model(base, config)
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * (0.5 if "lora_" in name else 0.05)
    tuned.save_pretrained(folder)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """What weights were loaded: a folder that training left, or None for the base."""
    seen: list[Path | None] = []
    real = transformers_engine.load_trained
    monkeypatch.setattr(
        transformers_engine, "load_trained", lambda config, folder, dtype: seen.append(folder) or real(config, folder, dtype)
    )  # fmt: skip
    return seen


def rows(run: Run, cell: str) -> list[dict]:
    return [
        row for i in range(run.num_shards) for row in read_shard(run.paths.cell(cell), i, run.num_shards).to_pylist()
    ]


def predict(folder: Path, cells: str) -> None:
    assert main(["predict", str(folder / "experiment.json"), "--runs-dir", str(folder / "runs"), "--cell", cells]) == 0


@pytest.mark.parametrize("kind", QUANTIZED)
def test_cells_on_one_loaded_base_answer_as_alone(tiny_model: Path, tmp_path: Path, loads: list, kind: str) -> None:
    path = write_experiment(tmp_path, tiny_model, sweep={"grid": {"lora.r": [2, 4]}})
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "model": {**values["model"], "quantization": {"kind": kind}}}))
    run = open_target(path, [], tmp_path / "runs")
    for seed, cell in enumerate(("r2", "r4")):
        put_adapter(run.paths.cell(cell).adapter, tiny_model, seed)
    alone = {}
    for cell in ("r2", "r4", "baseline"):
        predict(tmp_path, cell)
        alone[cell] = rows(run, cell)
        for file in run.paths.cell(cell).predictions.iterdir():
            file.unlink()
    assert len(loads) == 3
    predict(tmp_path, "r2,r4,baseline")
    assert len(loads) == 4, "one base for three cells"
    for cell, expected in alone.items():
        assert rows(run, cell) == expected
    scores = [[row["score"] for row in found] for found in alone.values()]
    assert scores[0] != scores[1] != scores[2], "adapters that change nothing show nothing"


def test_whatever_an_adapter_changed_is_taken_off_again(tiny_model: Path, tmp_path: Path) -> None:
    """Each kind after each other one, on one engine, against an engine of its own."""
    from sftlib.infer.engines import EngineSlot

    run = open_target(write_experiment(tmp_path, tiny_model), [], tmp_path / "runs")
    config = run.cell_config("main")
    samples = stage.test_samples(run, config)
    adapters: dict[str, Path | None] = {"none": None}
    for seed, (kind, values) in enumerate(KINDS.items()):
        adapters[kind] = tmp_path / kind
        put_adapter(tmp_path / kind, tiny_model, seed, **values)
    alone = {kind: Predictor(config, folder).answers(samples) for kind, folder in adapters.items()}
    assert len({tuple(answer.score for answer in found) for found in alone.values()}) == len(alone)
    slot = EngineSlot()
    for kind in [*adapters, *reversed(adapters), "head", "none", "biases", "none", "dora", "none"]:
        assert Predictor(config, adapters[kind], slot).answers(samples) == alone[kind], kind


def test_weights_that_were_trained_whole_are_the_ones_that_answer(
    tiny_model: Path, tmp_path: Path, loads: list
) -> None:
    """A full fine-tuning leaves a model and no adapter; after it the base answers as before."""
    from sftlib.train.trainer import SFTTrainer

    path = write_experiment(tmp_path, tiny_model, lora={"enabled": False})
    run = open_target(path, ["train.learning_rate=0.05"], tmp_path / "runs")
    SFTTrainer(run.cell_config("main"), output_dir=run.paths.cell("main").root).train()
    assert main(["predict", str(run.paths.root), "--cell", "main,baseline"]) == 0
    config, trained = run.cell_config("main"), run.paths.cell("main").adapter
    assert loads == [trained, None], "never the base beside it"
    assert not (trained / "adapter_config.json").exists()
    for cell, folder in (("main", trained), ("baseline", tiny_model)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        predictor = Predictor(config, None)
        for sample, row in zip(stage.test_samples(run, config), rows(run, cell), strict=True):
            prompt = predictor.renderer.prompt(sample).ids
            assert row["label_logprobs"] == pytest.approx(
                [plain(model, prompt, ids) for ids in predictor.answerer.label_ids], abs=1e-4
            )
    assert [row["score"] for row in rows(run, "main")] != [row["score"] for row in rows(run, "baseline")]


def plain(model: Any, prompt: list[int], label: list[int]) -> float:
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + label]), use_cache=False).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(label))
