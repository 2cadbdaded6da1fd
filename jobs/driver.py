"""One driver a run on a machine: a second one is refused, a dead one is taken over once its elements are gone."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from typing import Any

from jobs.attempts import all_attempts
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.processes import Process, current_process
from sftlib.config.rundir import read_json
from sftlib.errors import CorruptError, SftError
from sftlib.paths import RunPaths

PATIENCE_S = 60.0


@contextlib.contextmanager
def sole_driver(paths: RunPaths, say: Callable[[str], None], patience_s: float = PATIENCE_S) -> Iterator[Process]:
    """Be the only driver of this run while the block lasts; raises SftError when somebody else is."""
    me = current_process()
    _claim(paths, me, say)
    try:
        _wait_for_leftovers(paths, say, patience_s)
        yield me
    finally:
        if read_driver(paths) == me:
            paths.driver.unlink(missing_ok=True)


def read_driver(paths: RunPaths) -> Process | None:
    """Who says that it drives this run; whether it still lives is another question."""
    try:
        value: dict[str, Any] = read_json(paths.driver)
        return Process.from_json(value)
    except (CorruptError, KeyError, TypeError, ValueError):
        return None


def _claim(paths: RunPaths, me: Process, say: Callable[[str], None]) -> None:
    with _locked(paths):
        other = read_driver(paths)
        if other is not None and not other.is_here:
            raise SftError(
                f"{paths.root} is driven by process {other.pid} on {other.host}, which cannot be asked from {me.host}: "
                f"watch it with `sft status {paths.typed}`; if that process is gone, remove {paths.driver}"
            )
        if other is not None and other.is_alive:
            raise SftError(
                f"{paths.root} is already driven by process {other.pid} on this machine: "
                f"watch it with `sft status {paths.typed}`, or stop it with `kill {other.pid}`"
            )
        if other is not None:
            say(f"taking over from process {other.pid}, which is gone")
        write_json(paths.driver, {**me.to_json(), "since": round(time.time())})


@contextlib.contextmanager
def _locked(paths: RunPaths) -> Iterator[None]:
    """Held for the moment between looking and writing, so that of two that start together one wins."""
    lock = paths.driver.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        with contextlib.suppress(OSError):  # a file system without locks: then the moment is the only protection
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _wait_for_leftovers(paths: RunPaths, say: Callable[[str], None], patience_s: float) -> None:
    """Elements of a dead driver stop by themselves; nothing is started beside one that still writes."""
    deadline, is_told = time.monotonic() + patience_s, False
    local = [attempt for attempt in all_attempts(paths) if not attempt.journal.exists()]  # Slurm looks after its own
    while left := [process for attempt in local for process in attempt.living()]:
        pids = [str(process.pid) for process in left]
        if time.monotonic() > deadline:
            raise SftError(
                f"processes {', '.join(pids)} of an earlier attempt still run after {patience_s:.0f} s: "
                f"end them with `kill {' '.join(pids)}`"
            )
        if not is_told:
            say(f"waiting up to {patience_s:.0f} s for an earlier attempt to stop (processes {', '.join(pids)})")
        is_told = True
        time.sleep(0.2)
