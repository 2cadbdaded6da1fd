"""`convergence`: did the training converge? A run (every cell), or one log of ours or of another tool."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sftlib.artifacts.progress import say
from sftlib.config.rundir import open_run
from sftlib.convergence.picture import draw
from sftlib.convergence.reading import Curves, metrics_curves, read_curves
from sftlib.errors import DataError, InputError
from sftlib.metrics.convergence import Verdict, judge
from sftlib.paths import RunPaths

HELP = "judge a training by its curves: converged, still falling, diverged, overfitting, spiky gradients"
EXAMPLE = """examples:
  sft convergence runs/latest                              # every cell; writes cells/CELL/convergence.png
  sft convergence runs/latest --cell r8 --json
  sft convergence output/checkpoint-500/trainer_state.json --plot curves.png
  sft convergence tensorboard/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", type=Path, metavar="RUN|FILE|FOLDER", help="run directory, metrics.jsonl, trainer_state.json, or TensorBoard folder",
    )  # fmt: skip
    parser.add_argument("--cell", help="cell of the run (default: every trained cell)")
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="where the picture goes (a run: beside each cell's metrics)"
    )
    parser.add_argument("--json", action="store_true", help="print verdicts and figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    curves = _targets(arguments.target, arguments.cell)
    if arguments.plot and len(curves) > 1:
        raise InputError("--plot is for one log: name the cell with --cell")
    verdicts = {name: judge(found) for name, (found, _) in curves.items()}
    for name, (found, place) in curves.items():
        if picture := arguments.plot or place:
            draw(found, verdicts[name], name, picture)
            say(f"plot  {picture}")
    if arguments.json:
        print(json.dumps({name: verdict.to_json() for name, verdict in verdicts.items()}, indent=2))
    else:
        print("\n".join(_line(name, verdict) for name, verdict in verdicts.items()))
    return 0


def _targets(target: Path, cell: str | None) -> dict[str, tuple[Curves, Path | None]]:
    """Name -> curves, and where its picture belongs."""
    if not RunPaths(target).record.exists():
        if cell:
            raise InputError(f"--cell {cell}: {target} is not a run directory")
        return {target.name: (read_curves(target), None)}
    run = open_run(target)
    names = [run.cell(cell).id] if cell else [found.id for found in run.cells if not found.is_baseline]
    logged = {name: metrics_curves(run.paths.cell(name).metrics) for name in names}
    missing = [name for name, curves in logged.items() if not curves]
    if len(missing) == len(logged):
        raise DataError(f"{target}: nothing was logged yet for {', '.join(missing)}")
    for name in missing:
        say(f"{name}: nothing was logged yet")
    return {name: (curves, run.paths.cell(name).convergence) for name, curves in logged.items() if curves}


def _line(name: str, verdict: Verdict) -> str:
    since = f" since step {verdict.since_step:g}" if verdict.since_step is not None else ""
    return f"{name}: {verdict.verdict}{since}\n  {verdict.sentence}"
