"""`train`: one cell of a run, or every cell of an experiment, one after the other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sftlib.config.rundir import Run, open_target, read_json
from sftlib.errors import InputError

HELP = "train the adapter of a cell"
EXAMPLE = """examples:
  sft train configs/experiments/demo_cpu.yaml
  sft train runs/latest --cell r8-lr0.001"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="experiment file or run directory")
    parser.add_argument("--cell", help="cell to train (default: every cell)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run directories are (default: runs)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    target = open_target(arguments.target, arguments.set, arguments.runs_dir)
    cells = [arguments.cell] if arguments.cell else [cell.id for cell in target.cells if not cell.is_baseline]
    for cell in cells:
        if target.cell(cell).is_baseline:
            raise InputError(f"{cell} is the untouched base model: there is nothing to train")
        summary = _train(target, cell)
        print(json.dumps(summary, indent=2) if arguments.json else _line(target, cell, summary))
    return 0


def _line(target: Run, cell: str, summary: dict) -> str:
    return (
        f"{cell}: loss {summary['train_loss']:.4f} in {summary['seconds']:.0f} s -> {target.paths.cell(cell).adapter}"
    )


def _train(target: Run, cell: str) -> dict:
    from sftlib.artifacts.progress import open_progress

    paths, config = target.paths.cell(cell), target.cell_config(cell)
    if not target.why_untrained(cell, deep=True):
        return read_json(paths.summary)
    target.check_inputs(config, [name for name in target.inputs if name != "test"])
    from sftlib.train.trainer import SFTTrainer

    with open_progress(target.paths, "train", cell, 0, "steps") as progress:
        SFTTrainer(config, output_dir=paths.root, progress=progress).train()
    return read_json(paths.summary)
