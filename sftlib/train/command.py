"""`train`: one cell of a run, or every cell of an experiment, one after the other."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from sftlib.artifacts.processes import die_with_parent
from sftlib.artifacts.ranks import is_launched, is_main
from sftlib.config.inputs import training_splits
from sftlib.config.launch import torchrun_argv
from sftlib.config.load import load_experiment
from sftlib.config.rundir import Run, open_run, open_target, read_json
from sftlib.errors import InputError
from sftlib.train.stopping import StopRequest

HELP = "train the adapter of a cell"
EXAMPLE = """examples:
  sft train configs/experiments/demo_cpu.yaml
  sft train runs/latest --cell r8-lr0.001
  torchrun --nproc-per-node 4 -m sftlib train runs/latest --cell r8-lr0.001   (sft train does this by itself on one node)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="experiment file or run directory")
    parser.add_argument("--cell", help="cell to train (default: every cell)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run directories are (default: runs)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    request = StopRequest()
    request.listen()
    if not is_launched():
        return _run(arguments, open_target(arguments.target, arguments.set, arguments.runs_dir), request)
    die_with_parent()  # no rank is left behind on a device
    from sftlib.train.group import close_group, main_first, open_group

    open_group(_timeout_min(arguments))
    with main_first():  # an experiment file makes a run directory
        target = open_target(arguments.target, arguments.set, arguments.runs_dir)
    code = _run(arguments, target, request)
    close_group()
    return code


def _timeout_min(arguments: argparse.Namespace) -> int:
    if arguments.target.is_dir():
        return open_run(arguments.target).config.parallel.timeout_min
    return load_experiment(arguments.target, arguments.set, "local").config.parallel.timeout_min


def _run(arguments: argparse.Namespace, target: Run, request: StopRequest) -> int:
    cells = [arguments.cell] if arguments.cell else [cell.id for cell in target.cells if not cell.is_baseline]
    for cell in cells:
        if target.cell(cell).is_baseline:
            raise InputError(f"{cell} is the untouched base model: there is nothing to train")
        if code := _train_or_launch(target, cell, request):
            return code
        if is_main():
            summary = read_json(target.paths.cell(cell).summary)
            print(json.dumps(summary, indent=2) if arguments.json else _line(target, cell, summary))
    return 0


def _line(target: Run, cell: str, summary: dict) -> str:
    if summary["train_loss"] is None:
        return f"{cell}: {summary['taken_over']} -> {target.paths.cell(cell).adapter}"
    return (
        f"{cell}: loss {summary['train_loss']:.4f} in {summary['seconds']:.0f} s -> {target.paths.cell(cell).adapter}"
    )


def _train_or_launch(target: Run, cell: str, request: StopRequest) -> int:
    """Train here, or start the processes that the cell asks for on this machine; the exit code."""
    if target.cell_config(cell).lora.adapter is not None:
        return _take_over(target, cell)
    parallel = target.cell_config(cell).parallel
    if is_launched() or parallel.world_size == 1:
        _train(target, cell, request)
        return 0
    if parallel.nodes > 1:
        raise InputError(
            f"{cell} trains on {parallel.nodes} nodes: start it with a cluster profile (sft run --cluster ...), or "
            f"with torchrun on each node: torchrun --nnodes {parallel.nodes} --nproc-per-node {parallel.gpus_per_node} "
            f"--node-rank I --master-addr HOST --master-port PORT -m sftlib train {target.paths.root} --cell {cell}"
        )
    argv = torchrun_argv(["train", str(target.paths.root), "--cell", cell], processes=parallel.gpus_per_node)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as child:  # the summary is printed here
        request.listen(also=child.send_signal)
        return child.wait()


def _take_over(target: Run, cell: str) -> int:
    """An adapter that is there already: nothing is learnt, by however many processes."""
    from sftlib.artifacts.progress import open_progress
    from sftlib.train.taking_over import take_over

    if is_main() and target.why_untrained(cell, deep=True):
        with open_progress(target.paths, "train", cell, 1, "adapters") as progress:
            take_over(target.cell_config(cell), target.paths.cell(cell), progress)
    return 0


def _train(target: Run, cell: str, request: StopRequest) -> None:
    from sftlib.artifacts.progress import open_progress
    from sftlib.train.unsloth import bring_up

    paths, config = target.paths.cell(cell), target.cell_config(cell)
    bring_up(config)  # before anything that it rewrites
    from sftlib.train.group import as_main_says, check_world

    check_world(config)
    if not as_main_says(bool(is_main() and target.why_untrained(cell, deep=True))):
        return
    target.check_inputs(config, training_splits(config))
    from sftlib.train.trainer import SFTTrainer

    with open_progress(target.paths, "train", cell, 0, "steps") as progress:
        SFTTrainer(config, output_dir=paths.root, progress=progress, request=request).train()
