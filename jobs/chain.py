"""A run directory in, a finished run out: what is missing is found, frozen, driven and reported. Used by run and rerun."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import sftlib
from jobs.attempts import Attempt, new_attempt
from jobs.driver import PATIENCE_S, sole_driver
from jobs.ending import Ending
from jobs.freeze import freeze
from jobs.imagecheck import image_sha256
from jobs.local import check_fit, drive
from jobs.missing import find_missing
from jobs.payload import Submission
from jobs.plan import MERGE, ConfigOf, Element, Need, plan_elements
from jobs.results import result_lines
from jobs.rows import LiveRows
from jobs.schedule import Schedule, State
from jobs.screen import Screen, make_screen
from jobs.staging import staged_for
from jobs.stopping import StopRequest
from jobs.tables import plural
from sftlib.artifacts.atomic import write_json
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.errors import DONE, FAILED, INCOMPLETE


@dataclass(frozen=True)
class Chain:
    """One run, the settings by which it is run now, and where that is told."""

    run: Run
    config: SFTConfig  # of this submission: cluster settings may differ from those of the run's first day
    config_of: ConfigOf
    deep: bool  # re-hash what is there
    stage: Callable[[], None]  # makes the bundled model, where it is not there yet
    screen: Screen
    command: Sequence[str] | None = None  # stands in for the stage, in tests
    stage_code: Path | None = None  # what stages run, where it is not the source as it is now
    is_waiting: bool = True  # for the report; the local scheduler always is
    patience_s: float = PATIENCE_S
    grace_s: float = 45.0


@dataclass(frozen=True)
class Outcome:
    """How it went, for a shell and for a script."""

    code: int
    run_dir: Path
    report: Path | None
    states: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        report = str(self.report) if self.report else None
        return {"run_dir": str(self.run_dir), "exit_code": self.code, "report": report, "elements": dict(self.states)}


def screen_for(as_json: bool) -> Screen:
    """With --json standard output belongs to the one JSON object at the end."""
    stream: TextIO = sys.stderr if as_json else sys.stdout
    return make_screen(stream)


def run_chain(chain: Chain) -> Outcome:
    """Do what is missing, and show what came of it."""
    say = chain.screen.say
    say(f"run directory  {chain.run.paths.root}")
    if find_missing(chain.run, deep=chain.deep).is_nothing:
        say("nothing to do: every adapter, every shard and the report are there")
        return _conclude(chain, {}, StopRequest())
    if chain.config.cluster.scheduler == "slurm":
        return _run_on_slurm(chain)
    with sole_driver(chain.run.paths, say, chain.patience_s):
        chain.stage()
        need = find_missing(chain.run, deep=chain.deep)  # again: a driver before us may have done some of it meanwhile
        _say_reuse(chain, need)
        schedule, endings, request = _drive(chain, need)
    for name, ending in endings.items():
        _say_failure(chain, name, ending)
    return _conclude(chain, schedule.states, request)


def _run_on_slurm(chain: Chain) -> Outcome:
    """Submit what is missing and not in the queue yet; then watch it, or leave it to Slurm."""
    from jobs.slurm.driving import Board, fill_queue, open_board, watch
    from jobs.slurm.live import live_ids, to_submit, without_live
    from jobs.slurm.submitting import cancel, mend

    def show(notes: Mapping[str, str]) -> None:
        chain.screen.show(rows.now(notes))

    paths, config = chain.run.paths, chain.config
    with sole_driver(paths, chain.screen.say, chain.patience_s):
        chain.stage()
        mend(paths, chain.screen.say)
        live = live_ids(paths, config.cluster.poll_s)
        need = without_live(find_missing(chain.run, deep=chain.deep), live)
        elements = to_submit(plan_elements(paths.root, config, need, chain.config_of), live)
        if not elements:
            return _all_is_queued(chain, live)
        _say_reuse(chain, need)
        cancel([live.pop(MERGE)] if MERGE in live else [])  # the new one waits for these jobs too
        board: Board = open_board(_submission(chain, elements), live)
        rows = LiveRows(paths, board.schedule, board.submission.attempt)
        request = fill_queue(board, show, chain.screen.say)
    if not chain.is_waiting and not request.is_made:
        chain.screen.say(f"watch it with  sft status {paths.typed} --watch")
        return Outcome(DONE, paths.root, None, board.schedule.states)
    request = request if request.is_made else watch(board, show)
    chain.screen.settle(rows.now(board.notes))
    if request.is_made and not board.pending:
        chain.screen.say(
            f"\nthe jobs go on: `sft status {paths.typed}` shows them, `sft cancel {paths.typed}` ends them"
        )
        return Outcome(128 + (request.signal or signal.SIGTERM), paths.root, None, board.schedule.states)
    for name, ending in board.endings.items():
        _say_failure(chain, name, ending)
    return _conclude(chain, board.schedule.states, request)


def _all_is_queued(chain: Chain, live: Mapping[str, str]) -> Outcome:
    root = chain.run.paths.root
    chain.screen.say(f"nothing to submit: what is missing is queued or running ({plural(len(live), 'element')})")
    chain.screen.say(f"watch it with  sft status {chain.run.paths.typed} --watch")
    return Outcome(DONE, root, None, {})


def _submission(chain: Chain, elements: list[Element]) -> Submission:
    attempt, code = new_attempt(chain.run.paths), freeze(chain.run.paths)
    _write_spec(attempt, code, elements)
    return Submission(
        chain.run, attempt, elements, chain.config, code, image_sha256(chain.config), chain.command, chain.grace_s,
        chain.stage_code, staged_for(chain.run),
    )  # fmt: skip


def _drive(chain: Chain, need: Need) -> tuple[Schedule, dict[str, Ending], StopRequest]:
    elements = plan_elements(chain.run.paths.root, chain.config, need, chain.config_of)
    check_fit(elements, chain.config)
    submission = _submission(chain, elements)
    schedule = Schedule(elements)
    rows = LiveRows(chain.run.paths, schedule, submission.attempt)
    endings, request = drive(submission, schedule, lambda: chain.screen.show(rows.now()))
    chain.screen.settle(rows.now())
    return schedule, endings, request


def _write_spec(attempt: Attempt, code: Path, elements: list[Element]) -> None:
    spec = {
        "sftlib": sftlib.__version__, "code": code.name, "submitted": round(time.time()),
        "elements": [element.to_json() for element in elements],
    }  # fmt: skip
    write_json(attempt.spec, spec)


def _say_reuse(chain: Chain, need: Need) -> None:
    cells = chain.run.cells
    adapters = sum(not cell.is_baseline for cell in cells)
    shards = len(cells) * chain.run.num_shards
    missing = sum(map(len, need.shards.values()))
    if len(need.train) < adapters or missing < shards:
        reused = f"{adapters - len(need.train)} of {plural(adapters, 'adapter')}, {shards - missing} of {plural(shards, 'shard')}"
        chain.screen.say(f"reusing        {reused}")


def _say_failure(chain: Chain, name: str, ending: Ending) -> None:
    if ending.state is State.DONE or (name == MERGE and ending.state is State.INCOMPLETE):
        return
    chain.screen.say(f"\n{name} {ending.state}: {ending.words}")
    for line in ending.last_lines():
        chain.screen.say(f"  | {line}")
    chain.screen.say(f"  log {ending.log}")


def _conclude(chain: Chain, states: Mapping[str, State], request: StopRequest) -> Outcome:
    code = exit_code(states, request)
    is_reported = states.get(MERGE, State.DONE) in (State.DONE, State.INCOMPLETE)
    for line in ["", *result_lines(chain.run)] if is_reported else []:
        chain.screen.say(line)
    if code != DONE:
        chain.screen.say(
            f"\n{'stopped' if request.is_made else 'not complete'}: `sft rerun {chain.run.paths.typed}` goes on from here"
        )
    html = chain.run.paths.report.html
    return Outcome(code, chain.run.paths.root, html if is_reported and html.exists() else None, states)


def exit_code(states: Mapping[str, State], request: StopRequest) -> int:
    """0 all done; 3 a report is there, and something is missing from it; 128 + signal when stopped; else 1."""
    if all(state is State.DONE for state in states.values()):
        return DONE
    if request.is_made:
        return 128 + (request.signal or signal.SIGTERM)
    return INCOMPLETE if states.get(MERGE) in (State.DONE, State.INCOMPLETE) else FAILED


def print_outcome(outcome: Outcome, as_json: bool) -> int:
    if as_json:
        print(json.dumps(outcome.to_json(), indent=2))
    return outcome.code
