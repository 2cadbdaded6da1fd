"""Show how far a run is: every training and every range of shards, from manifests first, then from running stages."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from jobs.commands.options import RUNS_DIR, add_json
from jobs.driver import read_driver
from jobs.results import result_lines
from jobs.rows import ALIGN, HEADER, Row, counts, status_rows
from jobs.screen import make_screen
from jobs.slurm.live import slurm_jobs
from jobs.tables import table
from sftlib.config.rundir import Run, open_run
from sftlib.errors import DONE, SftError
from sftlib.paths import latest_link

EXAMPLE = """examples:
  sft status
  sft status runs/demo-1a2b3c4d --watch"""
_WATCH_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = latest_link(RUNS_DIR)
    parser.add_argument(
        "run_dir", metavar="RUN", type=Path, nargs="?", default=default, help=f"run directory (default: {default})"
    )
    parser.add_argument("--watch", action="store_true", help="keep the table up to date until nothing runs any more")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    directory = open_run(args.run_dir)
    if args.watch and not args.json:
        _watch(directory)
    rows = _rows(directory)
    if args.json:
        print(json.dumps(_as_json(directory, rows), indent=2))
    else:
        print("\n".join(_lines(directory, rows)))
    return DONE


def _rows(directory: Run) -> list[Row]:
    """Slurm is asked at most every cluster.poll_s; where it does not answer, the run directory alone must do."""
    try:
        jobs = slurm_jobs(directory.paths, directory.config.cluster.poll_s)
    except SftError as error:
        print(f"sft: {error}", file=sys.stderr)
        jobs = {}
    return status_rows(directory, jobs)


def _watch(directory: Run) -> None:
    screen = make_screen(sys.stdout)
    while _is_driven(directory) or _in_queue(directory):
        screen.show(_rows(directory))
        time.sleep(_WATCH_S)


def _in_queue(directory: Run) -> bool:
    jobs = slurm_jobs(directory.paths, directory.config.cluster.poll_s)
    return any(job.is_live for job in jobs.values())


def _lines(directory: Run, rows: list[Row]) -> list[str]:
    has_gpus = any(row.gpu_hours is not None for row in rows)
    hours = [[f"{row.gpu_hours:.2f}" if row.gpu_hours is not None else ""] if has_gpus else [] for row in rows]
    cells = [[*row.columns(), str(row.attempt or ""), row.node, *more] for row, more in zip(rows, hours, strict=True)]
    header = [*HEADER, "attempt", "node", *(["GPU-h"] if has_gpus else [])]
    notes = [f"  {row.element}: {row.note}" for row in rows if row.note]
    total = f", {sum(row.gpu_hours or 0 for row in rows):.2f} GPU-hours" if has_gpus else ""
    return [
        f"run directory  {directory.paths.root}",
        f"driver         {_driver(directory, rows)}",
        "",
        *table(header, cells, ALIGN + "><>"),
        f"  {counts(rows)}{total}",
        *(["", *notes] if notes else []),
        *(["", *result_lines(directory)] if rows[-1].state == "done" else []),
    ]


def _driver(directory: Run, rows: list[Row]) -> str:
    driver = read_driver(directory.paths)
    if driver is not None and driver.is_alive:
        return f"process {driver.pid} on this machine"
    if driver is not None and not driver.is_here:
        return f"process {driver.pid} on {driver.host} (cannot be asked from here)"
    if all(row.state == "done" for row in rows):
        return "none: all is done"
    if _in_queue(directory):
        return f"Slurm (sft cancel {directory.paths.typed} ends its jobs)"
    return f"none: `sft rerun {directory.paths.typed}` runs what is missing"


def _is_driven(directory: Run) -> bool:
    driver = read_driver(directory.paths)
    return bool(driver and driver.is_alive)


def _as_json(directory: Run, rows: list[Row]) -> dict[str, object]:
    driver = read_driver(directory.paths)
    return {
        "run_dir": str(directory.paths.root),
        "complete": all(row.state == "done" for row in rows),
        "driver": {**driver.to_json(), "alive": driver.is_alive} if driver else None,
        "rows": [row.to_json() for row in rows],
    }
