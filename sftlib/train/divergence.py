"""A training whose numbers are none any more ends there, named, and leaves no checkpoint that would go on from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sftlib.artifacts.ranks import is_main
from sftlib.config.tree import SFTConfig
from sftlib.errors import DivergedError
from sftlib.train.callbacks import SFTCallback
from sftlib.train.resuming import withdraw_checkpoints


class DivergenceCallback(SFTCallback):
    """Ends a training whose loss is no number: its weights are none either, and no further step mends them."""

    def __init__(self, config: SFTConfig) -> None:
        self.config = config
        self._sound = 0  # the last step whose loss was a number

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was loaded."""
        self._sound = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """On every rank: all have the mean over all."""
        losses = [float(logs[name]) for name in ("loss", "train_loss") if name in logs] if logs else []
        if not losses:
            return
        if all(map(math.isfinite, losses)):
            self._sound = state.global_step
            return
        what = (
            f"the loss at step {state.global_step} of {state.max_steps} is no number (at step {self._sound} it was one)"
        )
        raise _diverged(what, self.config, Path(args.output_dir), self._sound)


def check_weights(model: Any, weights: dict[str, Any] | None, config: SFTConfig, checkpoints: Path, step: int) -> None:
    """The last step's loss tells nothing of what that step did. `weights`: where they are not the model's own."""
    trained = weights.values() if weights is not None else (p for p in model.parameters() if p.requires_grad)
    if not all(bool(value.isfinite().all()) for value in trained if value.is_floating_point()):
        raise _diverged(f"the weights after step {step}, the last one, are no numbers", config, checkpoints, step)


def _diverged(what: str, config: SFTConfig, checkpoints: Path, step: int) -> DivergedError:
    """A loss tells of the weights before its step: a checkpoint of the step itself may be beyond mending too."""
    if is_main():
        withdraw_checkpoints(checkpoints, step)
    train = config.train
    return DivergedError(
        f"{what}: the training diverged; lower train.learning_rate = {train.learning_rate:g}, raise "
        f"train.warmup_ratio = {train.warmup_ratio:g}, or clip at less than train.max_grad_norm = {train.max_grad_norm:g}"
    )
