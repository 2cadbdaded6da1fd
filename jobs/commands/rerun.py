"""Run what is missing, failed or corrupt in a run directory; every shard is checked against its hash first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jobs.audit import accepted_before, audit_run
from jobs.chain import Chain, print_outcome, run_chain, screen_for
from jobs.commands.options import add_json
from jobs.staging import stage_bundled
from jobs.unbuilt import not_built, refuse_unbuilt
from sftlib.config.rundir import Run, open_run

EXAMPLE = """examples:
  sft rerun runs/latest
  sft rerun runs/demo-1a2b3c4d --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory, or runs/latest")
    parser.add_argument("--verify", action="store_true", help="repeat a finished run from its receipt and compare")
    parser.add_argument("--wait", action="store_true", help="show progress until the report is there (local: always)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.verify:
        raise not_built("rerun --verify")
    directory = open_run(args.run_dir)
    configs = {cell.id: directory.cell_config(cell.id) for cell in directory.cells}
    refuse_unbuilt(configs.values())
    parallel = {name: config.parallel for name, config in configs.items()}
    chain = Chain(
        run=directory,
        config=directory.config,
        parallel_of=parallel.__getitem__,
        deep=True,
        stage=lambda: _stage(directory, args.json),
        screen=screen_for(args.json),
        is_waiting=args.wait or directory.config.cluster.scheduler == "local",
    )
    return print_outcome(run_chain(chain), args.json)


def _stage(directory: Run, as_json: bool) -> None:
    configs = [directory.cell_config(cell.id) for cell in directory.cells]
    output = sys.stderr if as_json else sys.stdout
    stage_bundled(configs, [directory.record["experiment"]], output)
    accept = [*directory.config.data.accept, *accepted_before(directory.paths.root)]
    audit_run(directory.paths.root, accept, output)
