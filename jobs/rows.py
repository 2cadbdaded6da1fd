"""One row an element: its state and how far it is. The same rows feed the live table, plain lines, JSON and `sft status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jobs.attempts import Attempt, all_attempts
from jobs.driver import read_driver
from jobs.ending import ending_of
from jobs.missing import Standing, has_current_report, standings
from jobs.overlaps import Overlaps
from jobs.plan import (
    FOLD,
    MERGE,
    PREPARE,
    TRAIN,
    Element,
    folds,
    full_need,
    plan_elements,
    prepares_first,
)
from jobs.progress import all_progress, is_lost, read_progress
from jobs.schedule import OVER, Schedule, State
from jobs.slurm.endings import ending_in_slurm
from jobs.slurm.live import job_ids
from jobs.slurm.queue import Job
from jobs.tables import duration
from jobs.usage import gpu_hours
from sftlib.artifacts.progress import Progress
from sftlib.artifacts.shards import MISSING, VALID
from sftlib.config.rundir import Run
from sftlib.paths import RunPaths

LOST = "lost"
_SHAPING = ("parallel", "lora.adapter")  # by these a cell's elements are others than the experiment's


@dataclass(frozen=True)
class Row:
    """What a reader wants to know of one element."""

    element: str
    kind: str
    cell: str | None
    state: str
    attempt: int | None = None
    node: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    note: str = ""
    gpu_hours: float | None = None  # over all attempts

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def columns(self) -> list[str]:
        """Text of HEADER's columns."""
        amount = f"{self.done:,}/{self.total:,} {self.unit}" if self.total else ""
        return [
            self.element, self.state, amount, f"{self.loss:.3f}" if self.loss is not None else "",
            f"{self.tokens_per_s:,.0f}" if self.tokens_per_s is not None else "", duration(self.eta_s),
        ]  # fmt: skip


HEADER = ["element", "state", "progress", "loss", "tok/s", "eta"]
ALIGN = "<<<>>>"


def _row(element: Element, state: str, progress: Progress | None, note: str = "") -> Row:
    if progress is None:
        return Row(element.id, element.kind, element.cell, state, note=note)
    eta = progress.eta_s if state == State.RUNNING else None
    return Row(
        element.id, element.kind, element.cell, state, progress.attempt, progress.host, progress.done, progress.total,
        progress.unit, progress.loss, progress.tokens_per_s, eta, note,
    )  # fmt: skip


@dataclass
class LiveRows:
    """While driving: the states are the driver's own, the rest is what this attempt's stages say."""

    paths: RunPaths
    schedule: Schedule
    attempt: Attempt
    _settled: dict[str, Row] = field(default_factory=dict)  # what is over says nothing new: its file is read once

    def now(self, notes: Mapping[str, str] | None = None) -> list[Row]:
        return [self._row(name, state, (notes or {}).get(name, "")) for name, state in self.schedule.states.items()]

    def _row(self, name: str, state: State, note: str) -> Row:
        settled = self._settled.get(name)
        if settled and (settled.state, settled.note) == (state, note):
            return settled
        progress = read_progress(self.paths, name) if state not in (State.WAITING, State.SKIPPED) else None
        current = progress if progress and progress.attempt == self.attempt.number else None
        row = _row(self.schedule.elements[name], state, current, note)
        if state in OVER:
            self._settled[name] = row
        return row


@dataclass(frozen=True)
class _Known:
    """What is known of a run besides its manifests."""

    said: Overlaps[Progress]  # the newest first
    endings: dict[str, Attempt]
    is_driven: bool
    jobs: Overlaps[tuple[str, Job]]  # element and what Slurm says of it, of those that did not say how they ended
    attempts: Mapping[str, Attempt]  # of these


def status_rows(run: Run, jobs: Mapping[str, Job] | None = None) -> list[Row]:
    """From the run directory: manifests first, then what Slurm and the stages said, then how attempts ended."""
    driver = read_driver(run.paths)
    is_driven = bool(driver and (driver.is_alive or not driver.is_here))
    attempts = {name: attempt for name, (_, attempt) in job_ids(run.paths).items()} if jobs else {}
    said = Overlaps((progress.element, progress) for progress in all_progress(run.paths))
    queued = Overlaps((name, (name, job)) for name, job in (jobs or {}).items())
    known = _Known(said, _endings(run.paths), is_driven, queued, attempts)
    rows = []
    standing_cells = list(standings(run, deep=False))
    learning = {cell.id for cell in run.cells if run.learns(cell)}
    if prepares_first(run.config) and learning:
        rows.append(_prepare_row(run, [cell for cell in standing_cells if cell.cell in learning], known))
    for standing in standing_cells:
        for element in _elements(run, standing):
            rows.append(_status_row(element, standing, known))
    merge = Element(MERGE, MERGE, (), run.config.cluster.merge)
    rows.append(_state_row(merge, State.DONE if has_current_report(run) else "", "", known))
    hours = gpu_hours(run.paths)
    taken = Overlaps(hours.items())
    return [replace(row, gpu_hours=_hours_of(row, taken)) for row in rows] if hours else rows


def _hours_of(row: Row, taken: Overlaps[float]) -> float | None:
    """Of the element, and of those of other submissions that did a part of it."""
    about = taken.of(row.element)
    return round(sum(about), 4) if about else None


def _elements(run: Run, standing: Standing) -> list[Element]:
    """The cell's elements as a fresh submission would have them."""
    need = full_need([run.cell(standing.cell)], run.num_shards, fold=folds(run.config))
    overrides = run.cell(standing.cell).overrides
    config = run.cell_config(standing.cell) if any(key.startswith(_SHAPING) for key in overrides) else run.config
    elements = plan_elements(run.paths.root, run.config, need, lambda cell: config)
    return [element for element in elements if element.cell is not None]


def _prepare_row(run: Run, cells: Sequence[Standing], known: _Known) -> Row:
    """Done when it ended well, or when no training is left that could need it: only the run side can read the cache."""
    element = Element(PREPARE, PREPARE, (), run.config.cluster.prepare)
    ended = known.endings.get(PREPARE)
    is_over = not any(cell.untrained for cell in cells) or (
        ended is not None and ending_of(ended, PREPARE, was_stopped=False).state is State.DONE
    )
    return _state_row(element, State.DONE if is_over else "", "", known)


def _status_row(element: Element, standing: Standing, known: _Known) -> Row:
    if element.kind == TRAIN:
        return _state_row(element, "" if standing.untrained else State.DONE, "", known)
    if element.kind == FOLD:
        return _state_row(element, "" if standing.unmerged else State.DONE, "", known)
    shards = [standing.shards[index] for index in element.shards or ()]
    is_over = all(shard.state == VALID for shard in shards) and not standing.untrained
    faults = [f"shard {s.index} {s.state}: {s.reason}" for s in shards if s.state not in (VALID, MISSING)]
    return _state_row(element, State.DONE if is_over else "", "; ".join(faults), known)


def _state_row(element: Element, over: str, note: str, known: _Known) -> Row:
    progress = next((item for item in known.said.of(element.id) if _is_about(item, element)), None)
    if over:
        return _row(element, over, progress, note)
    if queued := known.jobs.of(element.id):
        return _slurm_row(element, *queued[0], progress, note, known)
    name = progress.element if progress else element.id
    attempt = known.endings.get(name)
    if attempt is not None and (progress is None or progress.attempt <= attempt.number):
        ending = ending_of(attempt, name, was_stopped=False)
        state = State.FAILED if ending.state is State.DONE else ending.state  # it said done; the files say otherwise
        return _row(element, state, progress, note or ending.words)
    if progress is None:
        return _row(element, State.WAITING if known.is_driven else MISSING, None, note)
    if is_lost(progress):
        return _row(element, LOST, progress, note or f"silent, process {progress.pid} is gone from {progress.host}")
    return _row(element, progress.state, progress, note)


def _slurm_row(element: Element, name: str, job: Job, progress: Progress | None, note: str, known: _Known) -> Row:
    """An element that is in the queue, or that ended there without a word."""
    attempt = known.attempts[name]
    current = progress if progress and progress.attempt == attempt.number else None
    if not job.is_live:
        ending = ending_in_slurm(attempt, replace(element, id=name), job)
        return replace(_row(element, ending.state, current, note or ending.words), node=job.nodes)
    if job.is_pending:
        return _row(element, State.WAITING, None, note or job.reason)
    row = _row(element, State.RUNNING, current, note)
    return replace(row, attempt=attempt.number, node=job.nodes)


def _is_about(progress: Progress, element: Element) -> bool:
    return progress.kind == element.kind and progress.cell == element.cell


def _endings(paths: RunPaths) -> dict[str, Attempt]:
    """Element -> the newest attempt that saw it end."""
    return {ending["element"]: attempt for attempt in all_attempts(paths) for ending in attempt.endings()}


def counts(rows: Sequence[Row]) -> str:
    """`2 running, 3 waiting, 4 done`."""
    return ", ".join(
        f"{sum(row.state == state for row in rows)} {state}" for state in _distinct(row.state for row in rows)
    )


def _distinct(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
