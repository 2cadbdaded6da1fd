"""Run what is missing, failed or corrupt in a run directory; every shard is checked against its hash first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jobs.audit import accepted_before, audit_run
from jobs.chain import Chain, print_outcome, run_chain, screen_for
from jobs.commands.options import add_json
from jobs.missing import find_missing
from jobs.placement import check_placement, placed
from jobs.plan import plan_elements
from jobs.staging import stage_bundled
from jobs.verifying import verify
from sftlib.artifacts.strays import tidy
from sftlib.config.rundir import Run, open_run

EXAMPLE = """examples:
  sft rerun runs/latest
  sft rerun runs/demo-1a2b3c4d --json
  sft rerun runs/latest --verify     repeats a finished run beside it and says what is equal"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory, or runs/latest")
    parser.add_argument("--verify", action="store_true", help="repeat a finished run from its receipt and compare")
    parser.add_argument("--wait", action="store_true", help="show progress until the report is there (local: always)")
    parser.add_argument("--cluster", metavar="PROFILE", help="run it there (default: as it was submitted)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    directory = open_run(args.run_dir)
    screen = screen_for(args.json)
    config = placed(directory, args.cluster, screen.say) if args.cluster else directory.config
    configs = {cell.id: directory.cell_config(cell.id) for cell in directory.cells}
    need = find_missing(directory, deep=False)
    elements = plan_elements(directory.paths.root, config, need, configs.__getitem__)
    check_placement(directory.paths.root, config, configs.values(), elements)
    chain = Chain(
        run=directory,
        config=config,
        config_of=configs.__getitem__,
        deep=True,
        stage=lambda: _stage(directory, args.json),
        screen=screen,
        is_waiting=args.wait or config.cluster.scheduler == "local",
    )
    if args.verify:
        return verify(chain, args.json)
    _put_away_strays(directory, chain)
    return print_outcome(run_chain(chain), args.json)


def _put_away_strays(directory: Run, chain: Chain) -> None:
    """What killed processes and other runs left among the shards; nothing where a process that lives is at work."""
    for cell in directory.cells:
        for line in tidy(directory.paths.cell(cell.id), directory.num_shards):
            chain.screen.say(line)


def _stage(directory: Run, as_json: bool) -> None:
    configs = [directory.cell_config(cell.id) for cell in directory.cells]
    output = sys.stderr if as_json else sys.stdout
    stage_bundled(configs, [directory.record["experiment"]], output)
    accept = [*directory.config.data.accept, *accepted_before(directory.paths.root)]
    audit_run(directory.paths.root, accept, output)
