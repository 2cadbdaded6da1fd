"""What the command line and the configuration already name and a later issue builds; empty when all are resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sftlib.config.inputs import SPLITS
from sftlib.config.train import ParallelSection
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError

_SLURM, _DATA = "jobs on Slurm", "data and templates"
UNBUILT = {
    "logs": _SLURM,
    "cancel": _SLURM,
    "container": _SLURM,
    "plan --scripts": _SLURM,
    "rerun --verify": _SLURM,
    "run with scheduler slurm": _SLURM,
    "run with several processes a cell": _SLURM,
    "run with container.runtime": _SLURM,
    "data.test_size": _DATA,
    "data.validation_size": _DATA,
    "data.sample_size": _DATA,
    "data.*.subset": _DATA,
}


def not_built(what: str) -> SftError:
    """The error that says so in one line."""
    return SftError(f"{what!r} is not built yet (issue: {UNBUILT[what]})")


def refuse_unbuilt(config: SFTConfig, parallels: Iterable[ParallelSection]) -> None:
    """Raise for the first thing that an experiment asks for and no stage does yet: never ignore a setting in silence."""
    for what in _asked_for(config, parallels):
        raise not_built(what)


def _asked_for(config: SFTConfig, parallels: Iterable[ParallelSection]) -> Iterator[str]:
    if config.cluster.scheduler != "local":
        yield "run with scheduler slurm"
    if config.container.runtime != "none":
        yield "run with container.runtime"
    if any(parallel.world_size > 1 for parallel in parallels):
        yield "run with several processes a cell"
    for key in ("test_size", "validation_size", "sample_size"):
        if getattr(config.data, key) is not None:
            yield f"data.{key}"
    sources = [getattr(config.data, split) for split in SPLITS]
    if any(source is not None and source.subset is not None for source in sources):
        yield "data.*.subset"
