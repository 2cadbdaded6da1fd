"""The driver on the login node: submits, waits where a submit limit makes it wait, and with --wait watches to the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.ending import Ending, ending_of
from jobs.payload import Submission
from jobs.plan import MERGE
from jobs.progress import is_lost, read_progress
from jobs.schedule import OVER, Schedule, State
from jobs.slurm.arrays import Array, arrays_of, fits
from jobs.slurm.endings import ending_in_slurm
from jobs.slurm.journal import Journal
from jobs.slurm.queue import Job, count_live, read_queue
from jobs.slurm.submitting import QueueFullError, submit
from jobs.stopping import StopRequest, listening
from jobs.tables import plural
from sftlib.errors import SftError

_LOOK_S = 1.0  # at files; Slurm itself is asked every cluster.poll_s
Show = Callable[[Mapping[str, str]], None]  # element -> a word on it
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
    _submit_or_wait(board)
    say(f"submitted      {_submitted(board)}")
    with listening() as request:
        if board.pending:
            left = sum(len(array.elements) for array in board.pending)
            limit = board.submission.config.cluster.max_submit
            say(f"waiting        cluster.max_submit is {limit}: {plural(left, 'element')} go in as others end")
        while board.pending and not request.is_made:
            _look(board)
            show(board.notes)
            time.sleep(_LOOK_S)
    return request


def watch(board: Board, show: Show) -> StopRequest:
    """Show how it goes until all has ended or somebody asks us to leave; the jobs need nobody who watches."""
    with listening() as request:
        while True:
            _look(board)
            show(board.notes)
            if board.schedule.is_over or request.is_made:
                return request
            time.sleep(_LOOK_S)


def _submitted(board: Board) -> str:
    entries = [entry for entry in board.journal.entries.values() if entry.is_released]
    elements = sum(len(entry.elements) for entry in entries)
    if not elements:
        return "nothing yet"
    jobs = " ".join(str(entry.job) for entry in entries[:8]) + (" ..." if len(entries) > 8 else "")
    return f"{plural(elements, 'element')} in {plural(len(entries), 'array')}: job {jobs}"


def _submit_or_wait(board: Board) -> None:
    """Jobs of this user that are not ours may fill the queue too: with a known limit there is room again when they end."""
    try:
        _submit_what_fits(board)
    except QueueFullError as error:
        if board.submission.config.cluster.max_submit is None:
            raise
        board.notes[MERGE] = str(error)


def _submit_what_fits(board: Board) -> None:
    cluster, room = board.submission.config.cluster, None
    if cluster.max_submit is not None:
        room = cluster.max_submit - count_live(board.submission.run.paths, board.poll_s)
        board.asked = time.monotonic()
    count = fits(board.pending, room)
    if not count:
        return
    submit(board.submission, board.journal, board.pending[:count], board.job_ids)
    board.job_ids |= board.journal.job_ids()
    del board.pending[:count]


def _look(board: Board) -> None:
    """Take in what files say, and now and then what Slurm says; then submit what there is room for."""
    _read_files(board)
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
        _submit_or_wait(board)


def _read_files(board: Board) -> None:
    """Two listings instead of two looks at each element: a shared file system notices thousands of those a second."""
    attempt, paths = board.submission.attempt, board.submission.run.paths
    ended, speaking = _names(attempt.root), _names(paths.progress)
    for name, state in list(board.schedule.states.items()):
        if state in OVER:
            continue
        if attempt.ending(name).name in ended:
            _end(board, name, ending_of(attempt, name, was_stopped=False))
        elif state is State.WAITING and paths.element_progress(name).name in speaking:
            _note_start(board, name)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _note_start(board: Board, name: str) -> None:
    """Stages speak as soon as they run, long before Slurm is asked again."""
    progress = read_progress(board.submission.run.paths, name)
    if progress and progress.attempt == board.submission.attempt.number and not is_lost(progress):
        board.schedule.start(name)


def _ask(board: Board) -> None:
    ids = {name: job for name, job in board.journal.job_ids().items() if board.schedule.states[name] not in OVER}
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
    left = tuple(e for e in array.elements if board.schedule.states[e.id] not in OVER)
    return Array(array.name, left) if left else None
