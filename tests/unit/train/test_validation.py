"""Answers at evaluations, the best model, early stopping, loggers: with a tiny model that really trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import sftlib
from sftlib.data.samples import Sample
from sftlib.errors import InputError
from sftlib.paths import ADAPTER_WEIGHTS, CellPaths
from sftlib.train.validation import spread, task_metrics
from tests.posts import write_experiment, write_posts

SETTINGS = ["train.eval_steps=2", "train.max_steps=6", "train.logging_steps=1"]


def train(folder: Path, model: Path, *settings: str) -> tuple[CellPaths, dict[str, Any]]:
    path = write_experiment(folder, model)
    write_posts(folder / "validation.jsonl", 9, start=2000)
    data = f"data.validation={folder / 'validation.jsonl'}"
    config = sftlib.SFTConfig.from_file(path, [*SETTINGS, data, *settings])
    result = sftlib.SFTTrainer(config, output_dir=folder / "out").train()
    return CellPaths(folder / "out"), result


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_validation_records_are_answered_judged_and_shown(tiny_model: Path, tmp_path: Path, capsys) -> None:
    cell, _ = train(
        tmp_path, tiny_model, "train.task_metrics_on=5", "train.sample_generations=2", "predict.max_new_tokens=4"
    )
    judged = [line for line in lines(cell.metrics) if "eval_accuracy" in line]
    assert [line["step"] for line in judged] == [2, 4, 6]
    assert all(0 <= line[name] <= 1 for line in judged for name in ("eval_f1", "eval_macro_f1", "eval_parse_rate"))
    shown = lines(cell.samples)
    assert [line["step"] for line in shown] == [2, 2, 4, 4, 6, 6] and all(line["expected"] for line in shown)
    assert f"step 2  {shown[0]['id']}: " in capsys.readouterr().err


def test_the_best_model_is_kept_and_early_stopping_ends_the_training(tiny_model: Path, tmp_path: Path) -> None:
    # A rate at which the loss explodes: the first evaluation is the best one.
    wild = ["train.learning_rate=5.0", "train.scheduler=constant", "train.warmup_ratio=0.0", "train.max_steps=12"]
    cell, _ = train(tmp_path, tiny_model, *wild, "train.keep_best=true", "train.early_stopping_patience=2")
    losses = [line["eval_loss"] for line in lines(cell.metrics) if "eval_loss" in line]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 6  # two evaluations without improvement, then no more
    kept = load_file(cell.adapter / ADAPTER_WEIGHTS)
    there = load_file(cell.checkpoints / f"checkpoint-{2 * (best + 1)}" / ADAPTER_WEIGHTS)
    assert all((kept[name] == there[name]).all() for name in kept)


def test_patience_without_keep_best_keeps_the_last_model(tiny_model: Path, tmp_path: Path) -> None:
    wild = ["train.learning_rate=5.0", "train.scheduler=constant", "train.warmup_ratio=0.0", "train.max_steps=12"]
    cell, _ = train(tmp_path, tiny_model, *wild, "train.early_stopping_patience=1", "train.save_steps=2")
    last = max(line["step"] for line in lines(cell.metrics) if "eval_loss" in line)
    kept = load_file(cell.adapter / ADAPTER_WEIGHTS)
    there = load_file(cell.checkpoints / f"checkpoint-{last}" / ADAPTER_WEIGHTS)
    assert last < 12 and all((kept[name] == there[name]).all() for name in kept)


def test_wandb_keeps_its_files_in_the_cell_and_no_key(tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789secret0123456789secret01234567")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    cell, _ = train(tmp_path, tiny_model, "train.loggers=[wandb]")
    written = [path for path in cell.loggers.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" and path.stat().st_size > 500 for path in written)
    assert not any(b"0123456789secret" in path.read_bytes() for path in written)
    assert not (tmp_path / "wandb").exists()


def test_a_logger_that_is_not_installed_is_refused_before_training(
    tiny_model: Path, tmp_path: Path, monkeypatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else find(name, *a))
    with pytest.raises(InputError, match="pip install mlflow"):
        train(tmp_path, tiny_model, "train.loggers=[mlflow]")


def test_a_best_metric_needs_its_answers(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="task_metrics_on"):
        train(tmp_path, tiny_model, "train.keep_best=true", "train.best_metric=eval_f1")
    with pytest.raises(InputError, match="every evaluation saves"):
        train(tmp_path, tiny_model, "train.keep_best=true", "train.save_steps=3")


def sample(name: str, gold: str) -> Sample:
    return Sample(name, [], gold, gold)


def test_an_unread_answer_counts_as_wrong(tiny_model: Path, tmp_path: Path) -> None:
    config = sftlib.SFTConfig.from_file(write_experiment(tmp_path, tiny_model), [])
    samples = [sample("a", "hate"), sample("b", "hate"), sample("c", "normal"), sample("d", "normal")]
    figures = task_metrics(samples, ["hate", "I cannot say", "normal", "hate"], config)
    assert figures["eval_accuracy"] == 0.5 and figures["eval_parse_rate"] == 0.75
    assert figures["eval_f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))


def test_judged_records_are_spread_over_the_file() -> None:
    samples = [sample(str(index), "hate") for index in range(10)]
    assert [one.id for one in spread(samples, 3)] == ["0", "3", "6"]
    assert spread(samples, 99) == samples and spread([], 3) == []
