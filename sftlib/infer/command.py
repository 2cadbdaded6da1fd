"""`predict`: shards of cells, a look at a few answers, or a check of what is on disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from sftlib.artifacts.progress import ProgressFile, open_progress
from sftlib.config.rundir import Run, open_target
from sftlib.errors import InputError

HELP = "predict the test set with a cell's adapter or with the base model"
EXAMPLE = """examples:
  sft predict runs/latest --cell r8-lr0.001
  sft predict runs/latest --cell r8,r16 --workers 2      (two processes; one loaded base each serves both adapters)
  sft predict configs/experiments/demo_cpu.yaml --cell baseline --shards 0-1
  sft predict runs/latest --cell baseline --limit 4 --show      (--json for scripts)
  sft predict runs/latest --verify --json
  torchrun --nproc-per-node 4 -m sftlib predict runs/latest     (each rank is a worker)
  accelerate launch --multi_gpu --num_processes 4 -m sftlib predict runs/latest

exit code: 0 done, 1 failed, 2 the input is wrong, 3 shards are missing or not as they should be"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="experiment file or run directory")
    parser.add_argument(
        "--cell", help="cells to predict with, as r8 or r8,r16 (default: every cell; with --limit one that is trained)"
    )
    parser.add_argument("--shards", help="shards, as 3 or 0-7 (default: all)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that share the shards (default: predict.workers)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="only check what is on disk; loads no model, writes nothing"
    )
    parser.add_argument(
        "--json", action="store_true", help="with --verify or --limit: print what was found, or answered, as JSON"
    )
    parser.add_argument("--adapter", type=Path, help="predict with this adapter folder (with --limit)")
    parser.add_argument("--limit", type=int, metavar="N", help="only look at the first N records; writes nothing")
    parser.add_argument("--show", action="store_true", help="with --limit: print prompt, answer, label and time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run directories are (default: runs)")


def run(arguments: argparse.Namespace) -> int:
    _check_combination(arguments)
    target = open_target(arguments.target, arguments.set, arguments.runs_dir)
    cells = arguments.cell.split(",") if arguments.cell else [cell.id for cell in target.cells]
    for cell in cells:
        target.cell(cell)  # an unknown cell is named before anything is loaded
    if arguments.limit is not None:
        from sftlib.infer.showing import show_answers

        named = cells if arguments.cell else []
        return show_answers(
            target, named, arguments.adapter, arguments.limit, is_long=arguments.show, as_json=arguments.json
        )
    if arguments.verify:
        from sftlib.infer.verifying import verify_shards

        verify_shards(target, cells, as_json=arguments.json)
        return 0
    return _predict(target, cells, arguments)


def _check_combination(arguments: argparse.Namespace) -> None:
    """Nothing that was asked for is left out in silence."""
    looks, verifies, cuts = arguments.limit is not None, arguments.verify, arguments.shards or arguments.workers
    for is_wrong, message in (
        (arguments.adapter and not looks, "--adapter goes with --limit, to look at a few answers; a whole test set is answered by a cell with --set lora.adapter=DIR (docs/prediction.md)"),
        (arguments.show and not looks, "--show goes with --limit, as in --limit 4 --show"),
        (arguments.json and not (verifies or looks), "--json goes with --verify or --limit: sft evaluate and sft merge print figures as JSON"),
        (looks and arguments.limit < 1, f"--limit {arguments.limit}: expected at least 1 record to look at"),
        (looks and (verifies or cuts), "--limit only looks at the first records: drop --verify, --shards and --workers"),
        (verifies and cuts, "--verify checks every shard: drop --shards and --workers"),
    ):  # fmt: skip
        if is_wrong:
            raise InputError(message)


def _predict(target: Run, cells: list[str], arguments: argparse.Namespace) -> int:
    from sftlib.infer.workers import WorkerProgress, is_worker, worker_count

    indices = parse_shards(arguments.shards, target.num_shards)
    if is_worker():
        with WorkerProgress(cells[0]) as progress:
            return _predict_here(target, cells, indices, progress)
    with open_progress(target.paths, "predict", ",".join(cells), 0, "records") as progress:
        count = worker_count(arguments.workers or target.config.predict.workers, len(indices) * len(cells))
        if count == 1:
            return _predict_here(target, cells, indices, progress)
        from sftlib.infer.sharing import share_shards

        return share_shards(target, cells, indices, count, progress)


def _predict_here(target: Run, cells: list[str], indices: list[int], progress: ProgressFile) -> int:
    from sftlib.infer.engines import EngineSlot
    from sftlib.infer.stage import predict_shards

    slot = EngineSlot()
    for cell in cells:
        predict_shards(target, cell, indices, progress, slot)
    return 0


def parse_shards(text: str | None, count: int) -> list[int]:
    """`3` or `0-7` as shard indices below `count`."""
    if text is None:
        return list(range(count))
    first, _, last = text.partition("-")
    try:
        indices = list(range(int(first), int(last or first) + 1))
    except ValueError:
        raise InputError(f"--shards {text!r}: expected a number or a range such as 0-7") from None
    if not indices or indices[-1] >= count:
        raise InputError(f"--shards {text!r}: the run has shards 0 to {count - 1}")
    return indices
