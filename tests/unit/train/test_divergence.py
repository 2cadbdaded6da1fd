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
from sftlib.train.divergence import check_weights
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


def test_its_curve_says_so(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": i, "loss": 1.0 if i < 40 else None}) + "\n" for i in range(60)))
    assert judge(metrics_curves(path)).verdict == "diverged"


def test_weights_that_an_engine_gathered_are_looked_at(tmp_path: Path) -> None:
    model, config = SimpleNamespace(parameters=lambda: []), sftlib.SFTConfig()
    check_weights(model, {"a": torch.ones(2), "packed": torch.ones(2, dtype=torch.uint8)}, config, tmp_path, 1)
    with pytest.raises(DivergedError):
        check_weights(model, {"a": torch.tensor([1.0, torch.inf])}, config, tmp_path, 1)
