"""End everything of a run: its jobs in Slurm's queue, and the driver on this machine. What is finished stays."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

from jobs.commands.options import add_json
from jobs.driver import read_driver
from jobs.slurm.journal import all_journals
from jobs.slurm.live import job_ids, live_ids
from jobs.slurm.queue import forget_queue
from jobs.slurm.submitting import cancel, take_back
from jobs.tables import plural
from sftlib.config.rundir import Run, open_run
from sftlib.errors import DONE

EXAMPLE = """examples:
  sft cancel runs/latest
  sft rerun runs/latest     goes on from what is there"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="run directory, or runs/latest")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    directory = open_run(args.run_dir)
    driver = _stop_driver(directory)
    cancelled = _cancel_jobs(directory)
    if args.json:
        print(json.dumps({"driver": driver, "cancelled": sorted(cancelled)}, indent=2))
        return DONE
    if driver:
        print(f"asked process {driver} to stop: it saves what it has and ends")
    print(
        f"cancelled {plural(len(cancelled), 'element')} in the queue" if cancelled else "nothing of it is in the queue"
    )
    print(f"`sft rerun {directory.paths.typed}` goes on from here")
    return DONE


def _stop_driver(directory: Run) -> int | None:
    driver = read_driver(directory.paths)
    if driver is None or not driver.is_alive:
        return None
    os.kill(driver.pid, signal.SIGTERM)
    return driver.pid


def _cancel_jobs(directory: Run) -> list[str]:
    """The mark first: no element asks for another start once it is there."""
    paths = directory.paths
    forget_queue(paths)
    attempts = job_ids(paths)
    live = live_ids(paths, directory.config.cluster.poll_s)
    for name in live:
        attempts[name][1].cancelled.touch()
    for journal in all_journals(paths):
        if journal.unfinished():
            take_back(journal)
    cancel(dict.fromkeys(live.values()))
    forget_queue(paths)
    return list(live)
