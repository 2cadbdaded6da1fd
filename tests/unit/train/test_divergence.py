"""A training that diverges ends where its loss is no number any more, is named, and is not gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import sftlib
from sftlib.convergence.reading import metrics_curves
from sftlib.errors import BAD_CONFIG, DivergedError
from sftlib.metrics.convergence import judge
from sftlib.paths import CellPaths
from sftlib.train.callbacks import SFTCallback
from sftlib.train.divergence import DivergenceCallback, check_weights
from sftlib.train.resuming import last_checkpoint
from tests.posts import write_experiment


class Overflow(SFTCallback):
    """A weight becomes no number in an optimiser step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, model=None, **_) -> None:
        if state.global_step == self.step:
            with torch.no_grad():
                next(p for p in model.parameters() if p.requires_grad).view(-1)[0] = torch.nan


def train(folder: Path, model: Path, *callbacks: SFTCallback) -> None:
    config = sftlib.SFTConfig.from_file(
        write_experiment(folder, model), ["train.save_steps=1", "train.logging_steps=2"]
    )
    sftlib.SFTTrainer(config, callbacks, output_dir=folder / "out").train()


def test_it_ends_at_the_next_log_and_goes_on_from_what_is_sound(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"step 4 of 6 is no number \(at step 2 it was one\).*lower train.learning_rate"
    ):
        train(tmp_path, tiny_model, Overflow(3))
    assert DivergedError.stage_code == BAD_CONFIG, "a supervisor does not start it again"
    cell = CellPaths(tmp_path / "out")
    sound = last_checkpoint(cell.checkpoints)
    assert sound is not None and sound.name == "checkpoint-1", "the one of step 2 is seen by no loss that is a number"
    assert not cell.summary.exists() and not cell.adapter.exists()
    train(tmp_path, tiny_model)
    assert cell.summary.exists()


def test_it_is_told_also_where_only_the_last_step_did_it(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the weights after step 6, the last one, are no numbers"):
        train(tmp_path, tiny_model, Overflow(6))
    cell = CellPaths(tmp_path / "out")
    assert not cell.adapter.exists() and getattr(last_checkpoint(cell.checkpoints), "name", "") == "checkpoint-5"


def test_with_fp16_a_single_log_without_numbers_is_got_over(tmp_path: Path) -> None:
    """Its filter leaves out what is no number: a mean of nothing is 0, beside a gradient that is none."""
    callback, args = (
        DivergenceCallback(sftlib.SFTConfig()),
        SimpleNamespace(logging_nan_inf_filter=True, output_dir=str(tmp_path)),
    )

    def log(step: int, **logs: float) -> None:
        callback.on_log(args, SimpleNamespace(global_step=step, max_steps=9), None, logs)

    log(1, loss=0.0, grad_norm=float("nan"))
    log(2, loss=0.7, grad_norm=float("inf"))  # some of its steps were dropped
    log(3, loss=0.0, grad_norm=0.0)  # nothing left to learn
    log(4, loss=0.0, grad_norm=float("nan"))
    with pytest.raises(DivergedError, match=r"step 5 of 9 is no number \(at step 3 it was one\)"):
        log(5, loss=0.0, grad_norm=float("inf"))


def test_its_curve_says_so(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": i, "loss": 1.0 if i < 40 else None}) + "\n" for i in range(60)))
    assert judge(metrics_curves(path)).verdict == "diverged"


def test_weights_that_an_engine_gathered_are_looked_at(tmp_path: Path) -> None:
    model, config = (
        torch.nn.ModuleDict({"base": torch.nn.Linear(2, 2), "lora": torch.nn.Linear(2, 2)}),
        sftlib.SFTConfig(),
    )
    model["base"].requires_grad_(False)
    broken = torch.full((2, 2), torch.inf)
    check_weights(model, {"base.weight": broken, "lora.weight": torch.ones(2, 2)}, config, tmp_path, 1)
    with pytest.raises(DivergedError):
        check_weights(model, {"lora.weight": broken}, config, tmp_path, 1)
    with pytest.raises(DivergedError):
        check_weights(model, {"of_another_name": broken}, config, tmp_path, 1)
