"""A training whose numbers are none any more ends there, named, and leaves no checkpoint that would go on from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sftlib.artifacts.ranks import is_main
from sftlib.config.tree import SFTConfig
from sftlib.errors import DivergedError
from sftlib.train.callbacks import SFTCallback
from sftlib.train.group import any_rank
from sftlib.train.resuming import withdraw_checkpoints

_MOST_OVERFLOWS = 2  # logs in a row in which fp16 found no number; a single one it gets over


class DivergenceCallback(SFTCallback):
    """Ends a training whose loss is no number: its weights are none either, and no further step mends them."""

    def __init__(self, config: SFTConfig) -> None:
        self.config = config
        self._sound = 0  # the last step whose loss was a number
        self._lost = 0  # logs in a row without one

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was loaded."""
        self._sound = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """On every rank. What was lost after the last log is in the mean of its own rank alone: so they agree."""
        if not logs or not logs.keys() & {"loss", "train_loss"}:
            return
        if not any_rank(_is_lost(logs, has_filter=args.logging_nan_inf_filter)):
            self._sound, self._lost = state.global_step, 0
            return
        self._lost += 1
        if args.logging_nan_inf_filter and self._lost < _MOST_OVERFLOWS:
            return
        since = (
            f"at step {self._sound} it was one"
            if self._sound
            else "it never was: look at the base, its dtype, the data"
        )
        what = f"the loss at step {state.global_step} of {state.max_steps} is no number ({since})"
        raise _diverged(what, self.config, Path(args.output_dir), self._sound)


def _is_lost(logs: dict[str, Any], *, has_filter: bool) -> bool:
    """A filtered loss leaves out what is no number: where nothing was one, it is 0 beside a gradient that is none."""
    if not has_filter:
        return not all(math.isfinite(float(logs[name])) for name in ("loss", "train_loss") if name in logs)
    return logs.get("loss") == 0 and not math.isfinite(float(logs.get("grad_norm", math.nan)))


def check_weights(model: Any, weights: dict[str, Any] | None, config: SFTConfig, checkpoints: Path, step: int) -> None:
    """The last step's loss tells nothing of what that step did. `weights`: where they are not the model's own."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if weights is not None:
        trained = {name: weights[name] for name in trained.keys() & weights.keys()} or weights
    if not all(bool(value.isfinite().all()) for value in trained.values() if value.is_floating_point()):
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
