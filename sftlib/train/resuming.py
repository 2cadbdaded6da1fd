"""From which checkpoint a training goes on, and what a killed attempt left behind that does not count."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import sync, write_json, write_text
from sftlib.artifacts.ranks import is_main
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.paths import CHECKPOINT_MARK, CHECKPOINT_PREFIX, CellPaths
from sftlib.train.group import as_main_says

_REPLICATED = ("single", "ddp")  # one file of weights and one of optimiser state: any number of processes reads them


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = [path for path in folder.glob(f"{CHECKPOINT_PREFIX}*") if (path / CHECKPOINT_MARK).exists()]
    return max(found, key=checkpoint_step, default=None)


def checkpoint_step(folder: Path) -> int:
    """`checkpoint-40` -> 40."""
    return int(folder.name.removeprefix(CHECKPOINT_PREFIX))


def mark_checkpoint(folder: Path, max_steps: int, config: SFTConfig) -> None:
    """All files are there: push them to the disk, then say so. A node that loses power leaves no mark without weights."""
    for path in folder.rglob("*"):
        sync(path)
    parallel = config.parallel
    write_json(folder / CHECKPOINT_MARK, {
        "step": checkpoint_step(folder), "max_steps": max_steps, "strategy": parallel.strategy,
        "processes": parallel.world_size,
    })  # fmt: skip


def withdraw_checkpoints(folder: Path, first: int) -> None:
    """Those of this step and later do not count any more."""
    for path in folder.glob(f"{CHECKPOINT_PREFIX}*"):
        if checkpoint_step(path) >= first:
            (path / CHECKPOINT_MARK).unlink(missing_ok=True)


def checkpoint_to_resume(cell: CellPaths, config: SFTConfig) -> Path | None:
    """The newest whole checkpoint, as rank 0 sees it; raises when this engine cannot read it."""
    found = last_checkpoint(cell.checkpoints) if is_main() else None
    step = as_main_says(checkpoint_step(found) if found else -1)
    if step < 0:
        return None
    folder = cell.checkpoints / f"{CHECKPOINT_PREFIX}{step}"
    _check_engine(folder, config)
    return folder


def _check_engine(folder: Path, config: SFTConfig) -> None:
    mark = json.loads((folder / CHECKPOINT_MARK).read_text(encoding="utf-8"))
    wrote, count = mark.get("strategy"), mark.get("processes")
    now, processes = config.parallel.strategy, config.parallel.world_size
    if wrote is None or (wrote in _REPLICATED and now in _REPLICATED) or wrote == now == "fsdp":
        return
    if wrote != now or count != processes:
        raise InputError(
            f"{folder} was written by {wrote} with {count} processes, and {now} with {processes} cannot read it: go on with "
            f"parallel.strategy={wrote} and {count} processes, or remove {folder.parent} to start anew"
        )


def forget_lost_steps(cell: CellPaths) -> None:
    """Steps that a killed attempt took after its last whole checkpoint are taken again: their metrics and half-written
    checkpoints go."""
    if not is_main():
        return
    for folder in cell.checkpoints.glob(f"{CHECKPOINT_PREFIX}*"):
        if not (folder / CHECKPOINT_MARK).exists():
            shutil.rmtree(folder)
    checkpoint = last_checkpoint(cell.checkpoints)
    keep_until = checkpoint_step(checkpoint) if checkpoint else -1
    if cell.metrics.exists():
        lines = cell.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(cell.metrics, "".join(line for line in lines if _step(line) <= keep_until))


def _step(line: str) -> float:
    """The step of a metrics line; a line that a kill cut short is after everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")


@contextlib.contextmanager
def keeping_types(model: Any) -> Iterator[None]:
    """PEFT loads an adapter in float32, whatever it was trained in: a resumed 4-bit training would round its updates
    otherwise than the one that was not interrupted."""
    types = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in types and parameter.dtype != types[name]:
            parameter.data = parameter.data.to(types[name])
