"""The supervisor alone, as submitit calls it on a node: environment, log, stop file, kills, restarts, exit codes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.attempts import Attempt
from jobs.ending import ending_of
from jobs.policy import Verdict, in_words, verdict
from jobs.schedule import State
from jobs.supervisor import Supervisor
from sftlib.artifacts.processes import Process, current_process


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The supervisor takes the process's signals; pytest wants them back."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def supervise(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Attempt]]:
    """Runs a Python program as element `train/a b` of an attempt in a folder with spaces and quotes."""
    attempt = Attempt(tmp_path / "it's a run" / "attempt-007")
    attempt.root.mkdir(parents=True)

    def run(program: str, **fields: Any) -> tuple[dict[str, Any], Attempt]:
        argv = [sys.executable, "-c", program]
        supervisor = Supervisor(
            "train/a b", argv, fields.pop("env", {}), str(attempt.root), **{"poll_s": 0.02, **fields}
        )
        return pickle.loads(pickle.dumps(supervisor))(), attempt  # noqa: S301 (as submitit does)

    return run


def test_environment_log_and_ending(supervise, monkeypatch) -> None:
    monkeypatch.setenv("GONE", "x")
    program = "import os, json; print(json.dumps({n: os.environ.get(n) for n in ('A', 'GONE', 'SFTLIB_ELEMENT', 'SFTLIB_ATTEMPT')}))"
    ending, attempt = supervise(program, env={"A": "1", "GONE": None})
    first, said = attempt.log("train/a b").read_text().splitlines()
    assert first.startswith("# ") and sys.executable in first
    assert json.loads(said) == {"A": "1", "GONE": None, "SFTLIB_ELEMENT": "train/a b", "SFTLIB_ATTEMPT": "7"}
    assert (ending["exit_code"], ending["restarts"], ending["stopped"]) == (0, 0, "")
    assert attempt.read_ending("train/a b") == ending


def test_a_secret_is_revealed_on_the_node_only(supervise, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    ending, attempt = supervise("import os; print(len(os.environ['KEY']))", env={"KEY": "${WANDB_API_KEY}"})
    assert ending["exit_code"] == 0 and attempt.log("train/a b").read_text().splitlines()[-1] == "9"
    assert not [path for path in attempt.root.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]


@pytest.mark.parametrize(
    ("code", "what", "words"),
    [
        (64, Verdict.NEVER, "configuration"),
        (65, Verdict.NEVER, "data"),
        (69, Verdict.ELSEWHERE, "node"),
        (1, Verdict.FAILED, "exit 1"),
    ],
)
def test_failures_are_told_not_raised(supervise, code, what, words) -> None:
    ending, attempt = supervise(f"import sys; print('the reason', file=sys.stderr); sys.exit({code})")
    assert (ending["exit_code"], ending["restarts"]) == (code, 0) and verdict(code) is what
    told = ending_of(attempt, "train/a b", was_stopped=False)
    assert told.state is State.FAILED and words in told.words and told.last_lines() == ["the reason"]


def test_a_stage_killed_from_outside(supervise) -> None:
    ending, attempt = supervise("import os; os.kill(os.getpid(), 9)")
    assert ending["exit_code"] == -9
    assert "SIGKILL" in ending_of(attempt, "train/a b", was_stopped=False).words
    assert in_words(137) == in_words(-9)


def test_a_command_that_is_not_there(supervise, tmp_path) -> None:
    attempt = Attempt(tmp_path / "attempt-001")
    ending = Supervisor("merge", ["/nowhere/python"], {}, str(attempt.root))()
    assert ending["exit_code"] == 127 and "cannot start /nowhere/python" in attempt.log("merge").read_text()


def test_restarts_are_limited(supervise, tmp_path) -> None:
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    ending, attempt = supervise(f"{count}; raise SystemExit(75)", max_restarts=2)
    assert (ending["exit_code"], ending["restarts"]) == (75, 2)
    assert (tmp_path / "count").read_text() == "xxx"
    told = ending_of(attempt, "train/a b", was_stopped=False)
    assert told.state is State.FAILED and "3 times" in told.words


STOPPABLE = """
import os, pathlib, signal, sys, time
terms = []
signal.signal(signal.SIGTERM, lambda *_: terms.append(1))
stop = pathlib.Path(os.environ["SFTLIB_STOP_FILE"])
print("ready", flush=True)
while not stop.exists():
    time.sleep(0.01)
time.sleep(0.1)
sys.exit(75 if terms else 1)
"""


def when_ready(log: Path, action: Callable[[], Any]) -> None:
    """Do something once the stage says that it is ready (the log's first line is the command, program and all)."""

    def wait() -> None:
        while not (log.exists() and "\nready" in log.read_text()):
            time.sleep(0.01)
        action()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_becomes_stop_file_and_term(supervise, tmp_path, number) -> None:
    attempt = Attempt(tmp_path / "it's a run" / "attempt-007")
    when_ready(attempt.log("train/a b"), lambda: os.kill(os.getpid(), number))
    ending, _ = supervise(STOPPABLE)
    assert (ending["exit_code"], ending["restarts"], ending["stopped"]) == (75, 0, signal.Signals(number).name)
    assert ending_of(attempt, "train/a b", was_stopped=False).state is State.STOPPED


@pytest.mark.parametrize(("number", "said"), [(signal.SIGUSR2, "walltime"), (signal.SIGTERM, "SIGTERM")])
def test_the_warning_before_the_limit_is_the_walltimes(supervise, tmp_path, number, said) -> None:
    attempt = Attempt(tmp_path / "it's a run" / "attempt-007")
    when_ready(attempt.log("train/a b"), lambda: os.kill(os.getpid(), number))
    ending, _ = supervise(STOPPABLE, time_limit_s=120.0, lead_s=61.0)
    assert ending["stopped"] == said
    words = ending_of(attempt, "train/a b", was_stopped=False).words
    assert ("walltime reached in 1 start" in words) == (said == "walltime"), words


def test_a_stop_file_from_elsewhere(supervise, tmp_path) -> None:
    attempt = Attempt(tmp_path / "it's a run" / "attempt-007")
    when_ready(attempt.log("train/a b"), attempt.stop("train/a b").touch)
    assert supervise(STOPPABLE)[0]["exit_code"] == 75


def test_nothing_starts_once_stopped_or_without_a_driver(supervise, tmp_path) -> None:
    gone = {**current_process().to_json(), "start": "another"}
    ending, attempt = supervise("raise SystemExit(1)", driver=gone)
    assert (ending["exit_code"], ending["stopped"]) == (75, "driver gone") and not attempt.log("train/a b").exists()
    attempt.stop("train/a b").touch()
    assert supervise("raise SystemExit(1)")[0]["stopped"] == "stop file"


def test_what_does_not_listen_is_killed_with_its_children(supervise, tmp_path) -> None:
    attempt = Attempt(tmp_path / "it's a run" / "attempt-007")
    program = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "p = subprocess.Popen(['sleep', '60']); print('ready', p.pid, flush=True); time.sleep(60)"
    )
    when_ready(attempt.log("train/a b"), attempt.stop("train/a b").touch)
    ending, _ = supervise(program, grace_s=0.2)
    assert ending["exit_code"] == -9
    worker = int(attempt.log("train/a b").read_text().split("\nready")[1].split()[0])
    time.sleep(0.1)
    assert not Process.of(worker).is_alive


def test_processes_are_not_mistaken_for_one_another() -> None:
    me = current_process()
    assert me.is_alive and Process.from_json(me.to_json()) == me
    assert not Process(me.pid, "another start", me.host).is_alive
    assert not Process(me.pid, me.start, "another-host").is_alive
    Process(me.pid, "another start", me.host).kill()
