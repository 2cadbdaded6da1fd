"""What the command line and the configuration already name and a later issue builds; empty when all are resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sftlib.config.data import Source
from sftlib.config.inputs import SPLITS
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError

_SLURM, _DATA, _TRAIN, _PREDICT = "jobs on Slurm", "data and templates", "training", "prediction"
_COMMANDS = dict.fromkeys(("logs", "cancel", "container", "plan --scripts", "rerun --verify"), _SLURM)
_FORMATS = ("sharegpt", "text", "formatting_func")

# Setting -> (the issue that builds it, whether an experiment asks for it). Never ignore a setting in silence.
_SETTINGS: dict[str, tuple[str, Callable[[SFTConfig], bool]]] = {
    "run with scheduler slurm": (_SLURM, lambda c: c.cluster.scheduler != "local"),
    "run with container.runtime": (_SLURM, lambda c: c.container.runtime != "none"),
    "data.test_size": (_DATA, lambda c: c.data.test_size is not None),
    "data.validation_size": (_DATA, lambda c: c.data.validation_size is not None),
    "data.sample_size": (_DATA, lambda c: c.data.sample_size is not None),
    "data.*.subset": (_DATA, lambda c: any(source.subset is not None for source in _sources(c))),
    "data.*.hub": (_DATA, lambda c: any(source.hub is not None for source in _sources(c))),
    f"data.format {', '.join(_FORMATS)}": (_DATA, lambda c: c.data.format in _FORMATS),
    "train.backend unsloth": (_TRAIN, lambda c: c.train.backend != "trl"),
    "train.save_merged_model": (_TRAIN, lambda c: c.train.save_merged_model),
    "predict.engine vllm": (_PREDICT, lambda c: c.predict.engine != "transformers"),
    "predict.calibrate": (_PREDICT, lambda c: c.predict.calibrate != "none"),
    "predict.threshold": (_PREDICT, lambda c: c.predict.threshold != "argmax"),
}
UNBUILT = {**_COMMANDS, **{what: issue for what, (issue, _) in _SETTINGS.items()}}


def _sources(config: SFTConfig) -> list[Source]:
    return [source for split in SPLITS if (source := getattr(config.data, split)) is not None]


def not_built(what: str) -> SftError:
    """The error that says so in one line."""
    return SftError(f"{what!r} is not built yet (issue: {UNBUILT[what]})")


def refuse_unbuilt(configs: Iterable[SFTConfig]) -> None:
    """Raise for the first thing that one of these asks for and no stage does yet."""
    for config in configs:
        for what, (_, is_asked_for) in _SETTINGS.items():
            if is_asked_for(config):
                raise not_built(what)
