"""Where metrics go besides metrics.jsonl: each logger by name, its files inside the cell's folder unless the user says else."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Literal, cast

from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.paths import CellPaths
from sftlib.train.callbacks import SFTCallback


class WandBCallback(SFTCallback):
    """Sends metrics to Weights & Biases, or keeps them in the cell's folder where there is no key or no network."""

    def __init__(self, config: SFTConfig, cell: CellPaths) -> None:
        self.config, self.cell = config, cell
        self._run: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step: the run is opened, or taken up again after a requeue."""
        if not state.is_world_process_zero or self._run is not None:
            return
        import wandb

        self.cell.loggers.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.config.name), name=run_name(self.config, self.cell),
            id=_run_id(self.config, self.cell), resume="allow", dir=os.environ.get("WANDB_DIR", str(self.cell.loggers)), mode=wandb_mode(),
            config=self.config.to_dict(), settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """When the trainer reports."""
        if self._run is not None and logs:
            self._run.log({_named(name): value for name, value in logs.items()}, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the last step, also when a stop was asked for: what was buffered is written."""
        if self._run is not None:
            self._run.finish()


def logger_callbacks(config: SFTConfig, cell: CellPaths) -> list[SFTCallback]:
    """Ours; transformers runs the others."""
    return [WandBCallback(config, cell)] if "wandb" in config.train.loggers else []


def wandb_mode() -> Literal["online", "offline", "disabled", "shared"]:
    """`WANDB_MODE` where it is set; else online where there is a key and the hubs are not switched off."""
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        return cast(Any, chosen)
    return "online" if os.environ.get("WANDB_API_KEY") and os.environ.get("HF_HUB_OFFLINE") != "1" else "offline"


def run_name(config: SFTConfig, cell: CellPaths) -> str:
    """The name that loggers show."""
    return config.train.run_name or f"{config.name}/{cell.name}"


def _run_id(config: SFTConfig, cell: CellPaths) -> str:
    """The same for every attempt of a cell, so that a requeued one goes on in the same run."""
    return "-".join([cell.root.parent.parent.name or config.name, cell.name]).replace("/", "-")[-120:]


def _named(name: str) -> str:
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def reported_to(config: SFTConfig) -> list[str]:
    """The loggers that transformers runs itself; raises InputError for one whose package is not there."""
    for name in config.train.loggers:
        if importlib.util.find_spec(name) is None:  # each is called as its package
            raise InputError(
                f"train.loggers: {name} needs the package {name}, which is not installed here: "
                f"pip install {name}, or take {name} out (metrics.jsonl is always written)"
            )
    return [name for name in config.train.loggers if name != "wandb"]


def keep_logs_inside(config: SFTConfig, cell: CellPaths) -> None:
    """Loggers that would write to the current or home folder write into the cell's, unless the user chose a place."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(cell.tensorboard)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{cell.loggers / 'mlflow.db'}")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", config.name)
    os.environ.setdefault("TRACKIO_DIR", str(cell.loggers / "trackio"))
    if {"mlflow", "trackio"} & set(config.train.loggers):
        cell.loggers.mkdir(parents=True, exist_ok=True)
