"""`merge`: a run's shards into one table, metrics and the report; exits 3 when something is missing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sftlib.config.rundir import Run, open_run
from sftlib.errors import IncompleteError

HELP = "merge a run's shards, compute metrics and bias, write the report"
EXAMPLE = """examples:
  sft merge runs/latest
  sft merge runs/latest --json > metrics.json

exit code: 0 the report is complete; 3 it is written, and stamped INCOMPLETE because something is missing"""
MOST_LINES = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of the table")


def run(arguments: argparse.Namespace) -> int:
    target = open_run(arguments.run)
    metrics = _merge(target)
    if arguments.json:
        from sftlib.report.json_text import figures_text

        print(figures_text(metrics))
    else:
        print(target.paths.report.text.read_text(encoding="utf-8"))
        print(f"report  {target.paths.report.html}")
    if not metrics["complete"]:
        raise IncompleteError(incomplete_message(metrics))
    return 0


def _merge(target: Run) -> dict[str, Any]:
    from sftlib.artifacts.progress import open_progress
    from sftlib.report.allocation import keep_freed_memory
    from sftlib.report.merge import merge_run

    keep_freed_memory()
    total = len(target.cells) * target.num_shards
    progress = open_progress(target.paths, "merge", None, total, "shards")
    progress.update(state="running", force=True)
    try:
        metrics = merge_run(target, lambda: progress.update(done=progress.progress.done + 1))
    except BaseException:
        progress.update(state="failed", force=True)
        raise
    progress.update(state="done", done=total, force=True)
    return metrics


def incomplete_message(metrics: dict[str, Any]) -> str:
    """What is missing, and the command that mends it."""
    faults = [finding for finding in metrics["coverage"]["findings"] if finding["is_fault"]]
    lines = [f"  {finding['sentence']}" for finding in faults[:MOST_LINES]]
    if len(faults) > MOST_LINES:
        lines.append(f"  and {len(faults) - MOST_LINES} more: they are in metrics.json under coverage.findings")
    mends = dict.fromkeys(finding["mend"] for finding in faults if finding["mend"])
    return "\n".join(["the report is INCOMPLETE:", *lines, *(f"mend: {mend}" for mend in mends)])
