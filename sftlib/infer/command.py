"""`predict`: shards of a cell, or a look at a few answers."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sftlib.config.rundir import Run, open_target
from sftlib.errors import InputError

HELP = "predict the test set with a cell's adapter or with the base model"
EXAMPLE = """examples:
  sft predict runs/latest --cell r8-lr0.001
  sft predict configs/experiments/demo_cpu.yaml --cell baseline --shards 0-1
  sft predict runs/latest --cell baseline --limit 4 --show"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="experiment file or run directory")
    parser.add_argument("--cell", help="cell to predict with (default: every cell)")
    parser.add_argument("--shards", help="shards, as 3 or 0-7 (default: all)")
    parser.add_argument("--adapter", type=Path, help="predict with this adapter folder (with --limit)")
    parser.add_argument("--limit", type=int, metavar="N", help="only look at the first N records; writes nothing")
    parser.add_argument("--show", action="store_true", help="with --limit: print prompt, answer, label and time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run directories are (default: runs)")


def run(arguments: argparse.Namespace) -> int:
    target = open_target(arguments.target, arguments.set, arguments.runs_dir)
    cells = [arguments.cell] if arguments.cell else [cell.id for cell in target.cells]
    if arguments.limit:
        return _look(target, cells[0], arguments)
    if arguments.adapter:
        raise InputError("--adapter goes with --limit: shards of a run belong to the adapter that the run trained")
    for cell in cells:
        _predict(target, cell, arguments.shards)
    return 0


def _predict(target: Run, cell: str, shards: str | None) -> None:
    from sftlib.artifacts.progress import open_progress
    from sftlib.infer.stage import predict_shards

    target.cell(cell)  # an unknown cell is named before torch is imported
    indices = parse_shards(shards, target.num_shards)
    with open_progress(target.paths, "predict", cell, 0, "records") as progress:
        predict_shards(target, cell, indices, progress)


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


def _look(target: Run, cell: str, arguments: argparse.Namespace) -> int:
    from sftlib.infer.stage import Predictor, test_samples

    config = target.cell_config(cell)
    trained = None if target.cell(cell).is_baseline else target.paths.cell(cell).adapter
    predictor = Predictor(config, arguments.adapter or trained)
    samples = test_samples(target, config)[: arguments.limit]
    prompts = [predictor.renderer.prompt(sample) for sample in samples]
    started = time.time()
    answers = predictor.engine.answer(prompts, lambda count: None)
    seconds = time.time() - started
    for sample, prompt, answer in zip(samples, prompts, answers, strict=True):
        if arguments.show:
            print(f"--- {sample.id}\n{prompt.text}")
        said = f"  raw {answer.raw!r}" if answer.raw is not None else ""
        score = f"  score {answer.score:.4f}" if answer.score is not None else ""
        print(f"[{sample.id}] gold {sample.gold!r}  answer {answer.prediction!r} {answer.reason or ''}{score}{said}")
    print(f"{len(samples)} records in {seconds:.2f} s ({seconds / len(samples):.3f} s each), method {predictor.method}")
    return 0
