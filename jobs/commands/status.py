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
from jobs.tables import table
from sftlib.config.rundir import Run, open_run
from sftlib.errors import DONE
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
    rows = status_rows(directory)
    if args.json:
        print(json.dumps(_as_json(directory, rows), indent=2))
    else:
        print("\n".join(_lines(directory, rows)))
    return DONE


def _watch(directory: Run) -> None:
    screen = make_screen(sys.stdout)
    while _is_driven(directory):
        screen.show(status_rows(directory))
        time.sleep(_WATCH_S)


def _lines(directory: Run, rows: list[Row]) -> list[str]:
    cells = [[*row.columns(), str(row.attempt or ""), row.node] for row in rows]
    notes = [f"  {row.element}: {row.note}" for row in rows if row.note]
    return [
        f"run directory  {directory.paths.root}",
        f"driver         {_driver(directory, rows)}",
        "",
        *table([*HEADER, "attempt", "node"], cells, ALIGN + "><"),
        f"  {counts(rows)}",
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
    return f"none: `sft rerun {directory.paths.root}` runs what is missing"


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
