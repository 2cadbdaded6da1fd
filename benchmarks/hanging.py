"""Processes that are waited for with a limit: what hangs is ended, with what it started, and says where it stood."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sftlib.artifacts.processes import Process
from sftlib.train.agent import children

SPEAKING = {"PYTHONFAULTHANDLER": "1"}  # environment of processes that shall tell their line when they are aborted
_LAST_WORDS_S, _TIDYING_S = 5.0, 10.0


def wait_for(running: Sequence[subprocess.Popen[bytes]], log: Path, limit_s: float) -> list[int]:
    """The exit codes. Raises where one is still there after `limit_s`; then none of them is left, nor of their ranks."""
    until = time.monotonic() + limit_s
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
    hung = [process for process in running if process.poll() is None]
    if not hung:
        return [process.returncode for process in running]
    codes = [process.poll() for process in running]
    words = _end(hung, log)
    raise TimeoutError("\n".join([f"still there after {limit_s:g} s, exit codes {codes}:", *words]))


def _end(hung: Sequence[subprocess.Popen[bytes]], log: Path) -> list[str]:
    """Kill these and all that they started; what each rank said of itself before."""
    ranks, started = {}, []
    for launcher in hung:
        for pid in [launcher.pid, *_descendants(launcher.pid)]:
            started.append(Process.of(pid))
            _signal(pid, signal.SIGSTOP)  # a launcher ends all ranks when one is gone, and ranks fall over each other
            if (rank := _rank(pid)) is not None:
                ranks.setdefault(rank, pid)  # a rank's helpers inherit its number
    ranks = ranks or {0: hung[0].pid}
    words = [f"rank {rank} hung: {_last_words(pid, log)}" for rank, pid in sorted(ranks.items())]
    for process in started:
        if process.pid not in {launcher.pid for launcher in hung}:
            process.kill()
    for launcher in hung:
        _signal(launcher.pid, signal.SIGCONT)  # its ranks are gone: it tidies up and ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.wait(_TIDYING_S)
        launcher.kill()
        launcher.wait()
    return words


def _descendants(parent: int) -> Iterator[int]:
    for child in children(parent):
        yield child
        yield from _descendants(child)


def _rank(pid: int) -> int | None:
    """As a launcher told it to the process."""
    with contextlib.suppress(OSError, ValueError):
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next((int(word[5:]) for word in words if word.startswith(b"RANK=")), None)
    return None


def _last_words(pid: int, log: Path) -> str:
    """Python's own report of where each thread stands."""
    before, process = log.stat().st_size, Process.of(pid)
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    _signal(pid, signal.SIGABRT)
    _signal(pid, signal.SIGCONT)
    until = time.monotonic() + _LAST_WORDS_S
    while process.is_alive and time.monotonic() < until:
        time.sleep(0.05)
    with log.open("rb") as stream:
        stream.seek(before)
        return stream.read().decode(errors="replace").strip() or "it said nothing"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
