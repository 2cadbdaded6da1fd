"""The local scheduler: starts elements through submitit's local executor as their needs are met and slots are free.

submitit's local executor knows neither dependencies nor a limit of jobs at once; this loop is both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import machine
from jobs.ending import Ending, ending_of
from jobs.payload import Submission, host_python, supervisor
from jobs.plan import Element
from jobs.schedule import Schedule
from jobs.stopping import StopRequest, blocked_signals, listening
from sftlib.artifacts.host import cores
from sftlib.artifacts.processes import Process, current_process
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError

_POLL_S = 0.2
_NO_LIMIT_MIN = 60 * 24 * 365  # submitit wants a walltime; the machine in front of you has none

Show = Callable[[], None]


@dataclass
class _Board:
    """The driver's hands: what runs on which slot."""

    submission: Submission
    schedule: Schedule
    free: list[str | None]
    running: dict[str, tuple[Any, list[str | None]]] = field(default_factory=dict)  # id -> submitit job, its slots
    endings: dict[str, Ending] = field(default_factory=dict)


def drive(submission: Submission, schedule: Schedule, show: Show) -> tuple[dict[str, Ending], StopRequest]:
    """Run every element to its end, or until asked to stop; returns once nothing of it runs any more."""
    board = _Board(submission, schedule, slots(submission.config))
    with listening() as request:
        while not board.schedule.is_over:
            _collect(board, request)
            if request.is_made:
                _stop(board, request)
            else:
                _start_ready(board)
            show()
            time.sleep(_POLL_S)
    show()
    return board.endings, request


def slots(config: SFTConfig) -> list[str | None]:
    """One entry an element that may run at once: its device, or None for the CPU."""
    devices: list[str | None] = [*machine.devices()]
    count = config.cluster.slots or len(devices) or max(1, cores() // config.train.threads)
    return [devices[index % len(devices)] if devices else None for index in range(count)]


def check_fit(elements: Sequence[Element], config: SFTConfig) -> None:
    """More processes than devices cannot start; on a CPU they share its cores."""
    count = len({*slots(config)} - {None})
    for element in elements:
        if count and element.processes > count:
            raise InputError(
                f"parallel.gpus_per_node = {element.processes}: {element.id} asks for that many devices, and this machine "
                f"has {count}: set parallel.gpus_per_node={count}, or run it on a cluster (sft run --cluster ...)"
            )


def _start_ready(board: _Board) -> None:
    """An element of several processes or workers takes as many slots; the next ones wait behind it, or it would never start."""
    for element in board.schedule.ready():
        taken = _take(board, element)
        if not taken:
            return
        board.running[element.id] = (_submit(board.submission, element, taken), taken)
        board.schedule.start(element.id)


def _take(board: _Board, element: Element) -> list[str | None]:
    """A free slot for each of its processes, taken out of `free`; none when there are too few. Ranks of a training need
    distinct devices, workers of a prediction may share one."""
    total = len(board.free) + sum(len(taken) for _, taken in board.running.values())
    wanted = min(max(element.processes, element.workers), total)
    choices = list(dict.fromkeys(board.free))
    if element.processes == 1 or None in board.free:
        choices += list((Counter(board.free) - Counter(choices)).elements())
    taken = choices[:wanted]
    if len(taken) < wanted:
        return []
    for slot in taken:
        board.free.remove(slot)
    return taken


def _submit(submission: Submission, element: Element, taken: Sequence[str | None]) -> Any:
    from submitit.local.local import LocalExecutor

    logging.getLogger("submitit").setLevel(logging.CRITICAL)  # its lines would stand in the middle of --json
    python = host_python(submission.code, inherits=True)
    executor = LocalExecutor(submission.attempt.submitit(element.id), python=python)
    executor.update_parameters(timeout_min=_NO_LIMIT_MIN, stderr_to_stdout=True)
    with blocked_signals():  # inherited: Ctrl-C is the driver's alone, it stops its elements gently
        return executor.submit(supervisor(submission, element, taken, current_process().to_json()))


def _collect(board: _Board, request: StopRequest) -> None:
    """Take in what has ended."""
    attempt = board.submission.attempt
    for name, (job, taken) in list(board.running.items()):
        # submitit's controller can die alone: the element has ended when its own processes have.
        if not job.done() or any(process.is_alive for process in attempt.read_processes(name)):
            continue
        del board.running[name]
        board.free += taken
        board.endings[name] = ending_of(attempt, name, was_stopped=request.is_made)
        board.schedule.end(name, board.endings[name].state)


def _stop(board: _Board, request: StopRequest) -> None:
    """Ask what runs to stop, once; after the time of grace, or when asked again, end it."""
    board.schedule.stop()
    for name, (job, _) in board.running.items():
        board.submission.attempt.stop(name).touch()
        if request.is_urgent or request.age_s > board.submission.grace_s + 5:
            for process in [*board.submission.attempt.read_processes(name), Process.of(int(job.job_id))]:
                process.kill()
        elif request.is_new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
    request.is_new = False
