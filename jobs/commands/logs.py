"""Show what an element said: the newest log of the run, or that of a cell or element; with --follow as it grows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.attempts import all_attempts
from jobs.commands.options import RUNS_DIR
from sftlib.config.problems import did_you_mean
from sftlib.config.rundir import Run, open_run
from sftlib.errors import DONE, InputError
from sftlib.paths import RunPaths, file_name, latest_link

EXAMPLE = """examples:
  sft logs runs/latest                   the log that was written to last
  sft logs runs/latest r8 --follow       of that cell
  sft logs runs/latest predict/r8/4-7    of that element, over all its starts"""
_FOLLOW_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = latest_link(RUNS_DIR)
    parser.add_argument("run_dir", metavar="RUN", type=Path, nargs="?", default=default, help="run directory")
    parser.add_argument("element", metavar="ELEMENT", nargs="?", help="element or cell (default: the newest log)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on as it grows, until interrupted")
    parser.add_argument("--lines", "-n", metavar="N", type=int, help="only the last N lines")
    parser.add_argument("--path", action="store_true", help="print where the log lies instead")


def run(args: argparse.Namespace) -> int:
    directory = open_run(args.run_dir)
    path = _newest(directory, args.element)
    if args.path:
        print(path)
        return DONE
    print(f"# {path}", file=sys.stderr)
    for text in _tail(path, args.lines, is_followed=args.follow):
        sys.stdout.write(text)
        sys.stdout.flush()
    return DONE


def _newest(directory: Run, wanted: str | None) -> Path:
    logs = sorted(_logs(directory.paths), key=lambda path: path.stat().st_mtime)
    about = [path for path in logs if wanted is None or _is_of(path, wanted)]
    if about:
        return about[-1]
    if not logs:
        raise InputError(f"{directory.paths.root} has no log yet: nothing of it has started (sft status)")
    names = sorted({path.name.removesuffix(".log") for path in logs})
    raise InputError(
        f"no log of {wanted!r}{did_you_mean(file_name(wanted or ''), names)}; there are: {', '.join(names[:20])}"
    )


def _logs(paths: RunPaths) -> Iterator[Path]:
    """Elements' own, and what Slurm kept of those that died before they could speak."""
    for attempt in all_attempts(paths):
        yield from attempt.root.glob("*.log")
        yield from (path for path in attempt.root.glob("submitit/*/*_log.out") if not list(attempt.root.glob("*.log")))


def _is_of(path: Path, wanted: str) -> bool:
    name, stem = file_name(wanted), path.name.removesuffix(".log")
    return stem == name or stem.startswith(f"{name}.node") or name in stem.split(".")[1:2]


def _tail(path: Path, lines: int | None, *, is_followed: bool) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read()
        yield "".join(text.splitlines(keepends=True)[-lines:]) if lines else text
        while is_followed:
            time.sleep(_FOLLOW_S)
            yield stream.read()
