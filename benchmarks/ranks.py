"""Workers of one prediction as torchrun would start them, forked from a process that has the libraries loaded: a run then
takes its own time and not that of imports, so that it can be killed, or measured, many times."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from sftlib.artifacts.shards import read_shard
from sftlib.config.rundir import Run, open_target

MODEL_CACHE = "ranks-tiny-model"


def preload() -> None:
    """What a worker would import."""
    import pyarrow
    import pyarrow.parquet
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    import sftlib.infer.dummy_engine
    import sftlib.infer.sharing
    import sftlib.infer.stage
    import sftlib.infer.transformers_engine  # noqa: F401

    pyarrow.array([""])  # its first array imports pandas
    torch.set_num_threads(1)


def make_run(folder: Path, *, records: int, model: Path | str | None = None, **predict: object) -> Run:
    """A run directory on made-up posts; with a tiny random model unless another is named."""
    from tests.posts import write_experiment
    from tests.tiny import build_tiny_model

    where = model or build_tiny_model(folder / "model")
    path = write_experiment(folder, where, train=6, test=records, predict=predict)
    return open_target(path, [], folder / "runs")


def start_ranks(run: Run, count: int, cell: str = "baseline", log: Path | None = None) -> list[int]:
    """Fork `count` workers of `sft predict`; their process ids."""
    return [_fork(run, rank, count, cell, log) for rank in range(count)]


def _fork(run: Run, rank: int, count: int, cell: str, log: Path | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(max(2, count))}
        from sftlib.__main__ import main

        with contextlib.redirect_stderr(io.TextIOWrapper(io.FileIO(2, "w"), line_buffering=True)):
            code = main(["predict", str(run.paths.root), "--cell", cell])
    finally:
        os._exit(code)


def wait_all(pids: list[int]) -> list[int]:
    """Exit codes, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def rows_of(run: Run, cell: str = "baseline") -> list[dict]:
    """Every row of the final table, in shard order."""
    paths = run.paths.cell(cell)
    return [row for index in range(run.num_shards) for row in read_shard(paths, index, run.num_shards).to_pylist()]


def leftovers(run: Run, cell: str = "baseline") -> list[str]:
    folder = run.paths.cell(cell).predictions
    known = {
        f"part-{i:05d}-of-{run.num_shards:05d}.{end}" for i in range(run.num_shards) for end in ("parquet", "json")
    }
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


def watch(folder: Path, stop: Path, report: Path) -> None:
    """Glob *.parquet and read every file whole, again and again, until `stop` is there; what could not be read goes to
    `report`. Runs in a process of its own, as another tool would."""
    import pyarrow.parquet as pq

    looks = reads = 0
    torn: list[str] = []
    while not stop.exists():
        looks += 1
        for path in _globbed(folder):
            try:
                content = path.read_bytes()
                pq.read_table(io.BytesIO(content), page_checksum_verification=True)
                reads += 1
            except FileNotFoundError:
                continue  # put away between the look and the read
            except Exception as error:  # whatever a reader meets is the finding
                torn.append(f"{path.name}: {type(error).__name__}: {error}")
    report.write_text(json.dumps({"looks": looks, "reads": reads, "torn": torn}), encoding="utf-8")


def _globbed(folder: Path) -> list[Path]:
    try:
        return list(folder.rglob("*.parquet"))
    except OSError:  # a folder was removed while it was listed
        return []


def start_watcher(folder: Path, stop: Path, report: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        watch(folder, stop, report)
    finally:
        sys.stdout.flush()
        os._exit(0)
