"""What a training leaves behind, and how it stops and goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import sftlib
from sftlib.artifacts.progress import Progress, ProgressFile
from sftlib.errors import DataError, InputError, StoppedError
from sftlib.paths import ADAPTER_WEIGHTS, CHECKPOINT_MARK, CellPaths
from sftlib.train import callbacks
from sftlib.train.callbacks import SFTCallback
from sftlib.train.resuming import checkpoint_to_resume, forget_lost_steps, last_checkpoint
from tests.posts import write_experiment


def trainer(
    folder: Path, model: Path, out: str, settings: list[str] | None = None, *callbacks: SFTCallback
) -> sftlib.SFTTrainer:
    config = sftlib.SFTConfig.from_file(write_experiment(folder, model), settings)
    return sftlib.SFTTrainer(config, callbacks, output_dir=folder / out)


def test_three_lines_of_python_train_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    result = trainer(tmp_path, tiny_model, "out", ["train.loggers=[tensorboard]"]).train()
    cell = CellPaths(tmp_path / "out")
    assert Path(result["adapter"]) == cell.adapter and (cell.adapter / ADAPTER_WEIGHTS).exists()
    lines = [json.loads(line) for line in cell.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 7))
    assert result["records"] == 24 and 0 < result["supervised_tokens"] < result["tokens"]
    assert list(cell.tensorboard.glob("events*"))
    assert cell.convergence.read_bytes().startswith(b"\x89PNG")  # so that the merge of a sweep draws nothing
    assert cell.convergence.stat().st_mtime >= cell.metrics.stat().st_mtime


class StopAt(SFTCallback):
    """Asks for a stop in the middle of a step, as a scheduler does."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_begin(self, args, state, control, **_) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_saves_at_the_step_and_a_second_run_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, number: int
) -> None:
    trainer(tmp_path, tiny_model, "whole").train()
    with pytest.raises(StoppedError) as caught:
        trainer(tmp_path, tiny_model, "parts", [], StopAt(2, number)).train()
    assert caught.value.exit_code == 75
    parts = CellPaths(tmp_path / "parts")
    checkpoint = last_checkpoint(parts.checkpoints)
    assert checkpoint is not None and checkpoint.name == "checkpoint-3" and not parts.summary.exists()
    trainer(tmp_path, tiny_model, "parts").train()
    whole = load_file(tmp_path / "whole" / "adapter" / ADAPTER_WEIGHTS)
    for name, weight in load_file(parts.adapter / ADAPTER_WEIGHTS).items():
        torch.testing.assert_close(weight, whole[name], rtol=0, atol=0)
    steps = [json.loads(line)["step"] for line in parts.metrics.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, 7))


def test_a_stop_file_stops_at_the_step(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stop").touch()
    monkeypatch.setenv("SFTLIB_STOP_FILE", str(tmp_path / "stop"))
    with pytest.raises(StoppedError, match="stopped at step 1 of 6"):
        trainer(tmp_path, tiny_model, "out").train()


def test_a_checkpoint_without_its_mark_is_never_taken(tmp_path: Path) -> None:
    for step, is_marked in ((2, True), (10, True), (30, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if is_marked:
            (folder / CHECKPOINT_MARK).write_text("{}")
    found = last_checkpoint(tmp_path)
    assert found is not None and found.name == "checkpoint-10"
    assert last_checkpoint(tmp_path / "nowhere") is None


def marked(folder: Path, step: int, **mark: object) -> Path:
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / CHECKPOINT_MARK).write_text(json.dumps({"step": step, **mark}))
    return checkpoint


def test_what_a_killed_attempt_left_half_written_is_removed(tmp_path: Path) -> None:
    cell, whole = CellPaths(tmp_path), marked(tmp_path, 4)
    (cell.checkpoints / "checkpoint-8").mkdir()
    cell.metrics.write_text('{"step": 4, "loss": 1}\n{"step": 5, "loss": 1}\n{"step": 6, "lo')
    forget_lost_steps(cell)
    assert list(cell.checkpoints.iterdir()) == [whole] and cell.metrics.read_text() == '{"step": 4, "loss": 1}\n'


def parallel(strategy: str, processes: int) -> sftlib.SFTConfig:
    return sftlib.SFTConfig.model_validate({"parallel": {"strategy": strategy, "gpus_per_node": processes}})


def test_an_engine_goes_on_only_from_what_it_can_read(tmp_path: Path) -> None:
    cell = CellPaths(tmp_path)
    checkpoint = marked(tmp_path, 4, strategy="ddp", processes=2)
    assert checkpoint_to_resume(cell, parallel("single", 1)) == checkpoint
    with pytest.raises(InputError, match="was written by ddp with 2 processes, and zero2 with 2 cannot read it"):
        checkpoint_to_resume(cell, parallel("zero2", 2))
    newer = marked(tmp_path, 8, strategy="zero3", processes=4)
    assert checkpoint_to_resume(cell, parallel("zero3", 4)) == newer
    with pytest.raises(InputError, match=r"go on with parallel\.strategy=zero3 and 4 processes"):
        checkpoint_to_resume(cell, parallel("zero3", 2))
    newest = marked(tmp_path, 12, strategy="fsdp", processes=4)
    assert checkpoint_to_resume(cell, parallel("fsdp", 2)) == newest


def test_what_cannot_be_trained_is_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no module x_proj; its linear modules are .*q_proj"):
        trainer(tmp_path, tiny_model, "a", ["lora.target_modules=[q_proj, x_proj]"]).train()
    with pytest.raises(DataError, match="longer than train"):
        trainer(tmp_path, tiny_model, "b", ["train.max_length=8"]).train()


def test_a_summary_says_what_the_training_took(tiny_model: Path, tmp_path: Path) -> None:
    done = trainer(tmp_path, tiny_model, "out").train()
    took = done["performance"]
    assert took["tokens"] > 0 and took["tokens_per_s"] > took["supervised_tokens_per_s"] > 0
    assert took["flops"] > 4 * took["tokens"] and took["peak_memory_gb"] > 0.05 and took["device_hours"] > 0
    assert took["mfu"] is None  # no peak is stated for a CPU


@pytest.mark.parametrize(("seconds", "warm_up"), [([9, 1, 1, 3], 9 - 5 / 3), ([9, 1], None), ([1, 2, 2], 0)])
def test_the_first_step_s_surplus_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: list[int], warm_up: float | None
) -> None:
    clock = iter(moment for step in seconds for moment in (0.0, float(step)))
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: next(clock))
    metering = callbacks.MetricsCallback(
        tmp_path / "metrics.jsonl", ProgressFile(None, Progress("train-0", "train", None))
    )
    state = SimpleNamespace(global_step=1, max_steps=len(seconds))
    for _ in seconds:
        metering.on_step_begin(None, state, None)
        metering.on_step_end(None, state, None)
    assert metering.stepping_s == sum(seconds) and metering.warm_up_s == (warm_up and pytest.approx(warm_up))
