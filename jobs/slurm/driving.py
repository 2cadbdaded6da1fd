"""The driver on the login node: submits, waits where a submit limit makes it wait, and with --wait watches to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobs.ending import Ending, ending_of
from jobs.payload import Submission
from jobs.plan import MERGE
from jobs.progress import is_lost, read_progress
from jobs.schedule import Schedule, State
from jobs.slurm.arrays import Array, arrays_of, fits
from jobs.slurm.endings import ending_in_slurm
from jobs.slurm.journal import Journal
from jobs.slurm.queue import Job, count_jobs, read_queue
from jobs.slurm.submitting import submit
from jobs.stopping import StopRequest, listening
from jobs.tables import plural
from sftlib.errors import SftError

_LOOK_S = 1.0  # at files; Slurm itself is asked every cluster.poll_s
_OVER = (State.DONE, State.INCOMPLETE, State.FAILED, State.STOPPED, State.SKIPPED)

Show = Callable[[Schedule, Mapping[str, str]], None]
Say = Callable[[str], None]


@dataclass
class Board:
    """What is in the queue, what is not yet, and what is known of each element."""

    submission: Submission
    journal: Journal
    schedule: Schedule
    pending: list[Array]
    job_ids: dict[str, str]  # element -> id, of what may still be waited for
    endings: dict[str, Ending] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    silent: dict[str, int] = field(
        default_factory=dict
    )  # polls in which Slurm had nothing, or an ending without a word
    asked: float = 0.0

    @property
    def poll_s(self) -> int:
        return self.submission.config.cluster.poll_s


def open_board(submission: Submission, live: Mapping[str, str]) -> Board:
    """`live` names elements of earlier submissions that are in the queue and may be waited for."""
    cluster = submission.config.cluster
    arrays = arrays_of(submission.elements, cluster.max_array_size, cluster.max_submit)
    return Board(submission, Journal(submission.attempt), Schedule(submission.elements), arrays, dict(live))


def fill_queue(board: Board, show: Show, say: Say) -> StopRequest:
    """Submit all; where a submit limit is lower than that, stay until the last array is in."""
    _submit_what_fits(board)
    say(f"submitted      {_submitted(board)}")
    with listening() as request:
        if board.pending:
            left = sum(len(array.elements) for array in board.pending)
            limit = board.submission.config.cluster.max_submit
            say(f"waiting        cluster.max_submit is {limit}: {plural(left, 'element')} go in as others end")
        while board.pending and not request.is_made:
            _look(board)
            show(board.schedule, board.notes)
            time.sleep(_LOOK_S)
    return request


def watch(board: Board, show: Show) -> StopRequest:
    """Show how it goes until all has ended or somebody asks us to leave; the jobs need nobody who watches."""
    with listening() as request:
        while not board.schedule.is_over and not request.is_made:
            _look(board)
            show(board.schedule, board.notes)
            time.sleep(_LOOK_S)
    return request


def _submitted(board: Board) -> str:
    entries = board.journal.entries.values()
    elements = sum(len(entry.elements) for entry in entries)
    jobs = " ".join(str(entry.job) for entry in list(entries)[:8]) + (" ..." if len(entries) > 8 else "")
    return f"{plural(elements, 'element')} in {plural(len(entries), 'array')}: job {jobs}"


def _submit_what_fits(board: Board) -> None:
    limit = board.submission.config.cluster.max_submit
    count = fits(board.pending, None if limit is None else limit - count_jobs())
    if not count:
        return
    submit(board.submission, board.journal, board.pending[:count], board.job_ids)
    board.job_ids |= board.journal.job_ids()
    del board.pending[:count]


def _look(board: Board) -> None:
    """Take in what files say, and now and then what Slurm says; then submit what there is room for."""
    for name, state in list(board.schedule.states.items()):
        if state not in _OVER:
            _look_at(board, name)
    if time.monotonic() - board.asked < board.poll_s:
        return
    board.asked = time.monotonic()
    try:
        _ask(board)
    except SftError as error:  # a controller that restarts loses nothing: neither do we
        board.notes[MERGE] = str(error)
        return
    if board.pending:
        board.pending = [part for array in board.pending if (part := _wanted(board, array))]
        _submit_what_fits(board)


def _look_at(board: Board, name: str) -> None:
    attempt = board.submission.attempt
    if attempt.ending(name).exists():
        _end(board, name, ending_of(attempt, name, was_stopped=False))
    elif board.schedule.states[name] is State.WAITING:
        progress = read_progress(board.submission.run.paths, name)
        if progress and progress.attempt == attempt.number and not is_lost(progress):
            board.schedule.start(name)


def _ask(board: Board) -> None:
    ids = {name: job for name, job in board.journal.job_ids().items() if board.schedule.states[name] not in _OVER}
    board.jobs = read_queue(board.submission.run.paths, ids.values(), board.poll_s)
    for name, job_id in ids.items():
        _take_in(board, name, board.jobs.get(job_id))


def _take_in(board: Board, name: str, job: Job | None) -> None:
    board.notes.pop(name, None)
    if job is not None and job.is_live:
        board.silent.pop(name, None)
        if job.is_pending:
            board.schedule.states[name] = State.WAITING
            board.notes[name] = job.reason
        else:
            board.schedule.start(name)
        return
    # Ended or forgotten, and no word from its supervisor: its last file may still be on the way to us.
    board.silent[name] = board.silent.get(name, 0) + 1
    if board.silent[name] > 1:
        attempt = board.submission.attempt
        _end(board, name, ending_in_slurm(attempt, board.schedule.elements[name], job))


def _end(board: Board, name: str, ending: Ending) -> None:
    board.endings[name] = ending
    board.schedule.end(name, ending.state)
    board.job_ids.pop(name, None)  # Slurm forgets it soon, and refuses to wait for what it does not know
    board.notes.pop(name, None)


def _wanted(board: Board, array: Array) -> Array | None:
    """The array without what is skipped by now; nothing where nothing is left."""
    left = tuple(e for e in array.elements if board.schedule.states[e.id] not in _OVER)
    return Array(array.name, left) if left else None
