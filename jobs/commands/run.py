"""Run an experiment: train every cell, predict the test set in shards, merge, report. What is there already is reused."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from jobs.audit import audit_run
from jobs.chain import Chain, print_outcome, run_chain, screen_for
from jobs.commands.options import add_experiment, add_json, given_settings, load
from jobs.placement import check_placement
from jobs.proposal import propose
from jobs.staging import stage_bundled
from sftlib.config.load import Experiment
from sftlib.config.rundir import prepare_run
from sftlib.errors import InputError

EXAMPLE = """examples:
  sft run configs/experiments/demo_cpu.yaml --cluster local
  sft run configs/experiments/demo_cpu.yaml --set train.learning_rate=1e-4,2e-4 --set train.epochs=1

exit code: 0 done, 1 failed, 2 the input is wrong, 3 the report is there and incomplete"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    add_json(parser)
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, help="show progress until the report is there (local: always)"
    )


def run(args: argparse.Namespace) -> int:
    experiment = load(args)
    proposal = propose(experiment, args.runs_dir)
    check_placement(*proposal.placement)
    configs = {cell.id: cell.config for cell in experiment.cells}
    is_local = experiment.config.cluster.scheduler == "local"
    if is_local and args.wait is False:
        raise InputError(
            "--no-wait: the local profile drives its elements from this process; leave it out, "
            f"or put the command in the background: nohup sft run {shlex.quote(str(args.experiment))} --cluster local > run.log &"
        )
    directory = prepare_run(experiment, proposal.splits, args.runs_dir, _receipt(experiment, args))
    chain = Chain(
        run=directory,
        config=experiment.config,
        config_of=configs.__getitem__,
        deep=False,
        stage=lambda: _stage(args, experiment, directory.paths.root),
        screen=screen_for(args.json),
        is_waiting=is_local or bool(args.wait),
    )
    return print_outcome(run_chain(chain), args.json)


def _stage(args: argparse.Namespace, experiment: Experiment, root: Path) -> None:
    """What must be there, and what must not be wrong, before anything is submitted."""
    arguments = [str(args.experiment), *(part for item in args.settings for part in ("--set", item))]
    configs = [cell.config for cell in experiment.cells]
    output = sys.stderr if args.json else sys.stdout
    stage_bundled(configs, arguments, output)
    audit_run(root, experiment.config.data.accept, output)


def _receipt(experiment: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    from sftlib.artifacts.receipt import submission_receipt

    return submission_receipt(experiment.path, given_settings(args))
