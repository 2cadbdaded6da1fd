"""What happens beside the training loop: metrics lines, progress, complete checkpoints, a clean stop."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from sftlib.artifacts.atomic import append_line
from sftlib.artifacts.progress import ProgressFile, say
from sftlib.config.tree import SFTConfig
from sftlib.paths import CHECKPOINT_PREFIX
from sftlib.train.engines import check_engine
from sftlib.train.group import any_rank, wait_for_all
from sftlib.train.resuming import mark_checkpoint
from sftlib.train.stopping import StopRequest

# What an evaluation says in the log, in this order.
_TOLD = {"eval_loss": "eval loss", "eval_accuracy": "accuracy", "eval_f1": "F1", "eval_macro_f1": "macro F1",
         "eval_parse_rate": "parsed", "eval_exact_match": "exact match", "eval_rouge_l": "ROUGE-L"}  # fmt: skip


class SFTCallback(TrainerCallback):
    """Base of our callbacks: TRL's hooks, unchanged."""


class MetricsCallback(SFTCallback):
    """Each logged step becomes a line of metrics.jsonl and of the log, and the element's progress."""

    def __init__(self, metrics: Path, progress: ProgressFile) -> None:
        self.metrics, self.progress = metrics, progress
        self.stepping_s = 0.0  # in optimiser steps; evaluations and checkpoints are not training
        self.steps = 0
        self._first_s = self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step, after a checkpoint was loaded."""
        self.progress.update(state="running", done=state.global_step, total=state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first of the batches that make an optimiser step."""
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After each optimiser step."""
        seconds = time.perf_counter() - self._began
        self.stepping_s += seconds
        self.steps += 1
        self._first_s = self._first_s or seconds
        self.progress.update(done=state.global_step, total=state.max_steps)

    @property
    def warm_up_s(self) -> float | None:
        """What the first step took more than the others: memory is asked for, kernels are chosen or compiled."""
        if self.steps < 3:
            return None
        return max(0.0, self._first_s - (self.stepping_s - self._first_s) / (self.steps - 1))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """When the trainer reports: every logging_steps, and after each evaluation."""
        if not state.is_world_process_zero or not logs:
            return
        line = {"step": state.global_step, "time": round(time.time(), 3), **{k: _plain(v) for k, v in logs.items()}}
        if "num_tokens" in logs and self.stepping_s > 0:
            line["tokens_per_s"] = round(float(logs["num_tokens"]) / self.stepping_s, 1)
        append_line(self.metrics, json.dumps(line))
        if "loss" in logs:
            self.progress.update(loss=_plain(round(float(logs["loss"]), 4)), tokens_per_s=line.get("tokens_per_s"))
            rate = f"  {line['tokens_per_s']:.0f} tokens/s" if "tokens_per_s" in line else ""
            say(f"step {state.global_step}/{state.max_steps}  loss {float(logs['loss']):.4f}{rate}")
        elif any(name in logs for name in _TOLD):
            told = "  ".join(f"{_TOLD[name]} {float(logs[name]):.4f}" for name in _TOLD if name in logs)
            say(f"step {state.global_step}/{state.max_steps}  {told}")


def _plain(value: Any) -> Any:
    """What JSON has a word for."""
    if isinstance(value, float):
        return round(value, 8) if math.isfinite(value) else None
    return value


class CheckpointCallback(SFTCallback):
    """Marks a checkpoint when it is whole, and ends training at the step in which a stop was asked for."""

    def __init__(self, config: SFTConfig, request: StopRequest | None = None) -> None:
        self.config, self.request = config, request or StopRequest()
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Handlers are set late: a library that loads after us must not replace them."""
        self.request.listen()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """After each optimiser step: a stop that reached any rank saves here and ends the training on all."""
        if any_rank(self.request.is_made()):
            self.stopped = state.global_step < state.max_steps
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the checkpoint's files are written on every rank: the mark makes it count."""
        wait_for_all()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"{CHECKPOINT_PREFIX}{state.global_step}"
            mark_checkpoint(folder, state.max_steps, self.config)


class EngineCallback(SFTCallback):
    """Looks at what really runs, before the first step."""

    def __init__(self, trainer: Any, config: SFTConfig) -> None:
        self.trainer, self.config = trainer, config

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the engine has taken the model."""
        say(f"engine {self.config.parallel.strategy}: {check_engine(self.trainer, self.config)}")
