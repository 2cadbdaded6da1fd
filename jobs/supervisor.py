"""What submitit runs for an element, once a node: start the stage as a child, own signals, stop file and restarts, write how it ended.

The dataclass is all that is pickled: plain data. The code that runs it is the frozen copy of the submission.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jobs.attempts import WALLTIME, Attempt
from jobs.child import NOT_STARTED, Child
from jobs.container import Container, missing_sources
from jobs.images import hashes, ready_image, remembered_sha256
from jobs.launch import launched_argv
from jobs.nodecheck import NodeNeeds, node_faults
from jobs.policy import Verdict, verdict
from jobs.slurm.allocation import Allocation, read_allocation
from jobs.slurm.requeue import Requeue
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.processes import Process, current_process
from sftlib.artifacts.staged import staged_faults
from sftlib.config.launch import Rendezvous
from sftlib.errors import (
    ATTEMPT_VARIABLE,
    ELEMENT_VARIABLE,
    NODES_VARIABLE,
    REQUEUE,
    STOP_VARIABLE,
    UNHEALTHY_NODE,
    InputError,
    SftError,
)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_HEARTBEAT_S = 30.0
EARLY_S = 60  # by so much Slurm may signal before the asked moment


@dataclass
class Supervisor:
    """One element, as plain data."""

    element: str
    argv: list[str]
    env: dict[str, str | None]  # added to the node's environment; None takes a variable out
    attempt_dir: str
    driver: dict[str, Any] | None = None  # process whose end stops the element (local profile)
    max_restarts: int = 20
    grace_s: float = 45.0  # from the request to stop until the kill
    poll_s: float = 0.2
    nodes: int = 1
    processes: int = 1  # on each node; more than one in all: torchrun starts them
    container: Container | None = None
    folder: str = ""  # working folder of the stage
    needs: NodeNeeds | None = None  # looked at before the stage starts
    rendezvous: str = "auto"
    time_limit_s: float | None = None
    lead_s: float = 0.0  # before the limit, at which the scheduler asks to stop
    exclude: tuple[str, ...] = ()  # nodes that the submission excludes already
    staged: tuple[str, ...] = ()  # manifests of what the stage needs from the cache
    _stop_reason: str = field(default="", init=False, repr=False)
    _allocation: Allocation | None = field(default=None, init=False, repr=False)
    _started: float = field(default_factory=time.time, init=False, repr=False)
    _run_started: float = field(default_factory=time.time, init=False, repr=False)

    def __call__(self) -> dict[str, Any]:
        """Run the element to its end; never raises because the stage failed. In a Slurm job its exit code is ours."""
        self._started = time.time()
        self._listen()
        self._allocation = read_allocation()
        if self._allocation is None:
            return self._end(*self._run_with_restarts())
        sys.exit(self._run_as_job(self._allocation))

    def _run_as_job(self, allocation: Allocation) -> int:
        """One start of an array element on this node; where it is to run again, Slurm ends us."""
        if allocation.is_first_node:
            self._attempt.stop(self.element).unlink(missing_ok=True)  # of the start before
        self._attempt.ending(self.element, allocation.node_rank).unlink(missing_ok=True)
        code = self._run_once()
        requeue = Requeue(self._attempt, self.element, allocation, self.nodes, self.max_restarts, self.exclude)
        if requeue.is_wanted(code, was_stopped=bool(self._stop_reason), since=self._started):
            self._note_use(code)
            requeue.ask_and_wait(code, self._say)
        self._end(code, allocation.restarts)
        return code if 0 <= code < 256 else 128 - code

    @property
    def _attempt(self) -> Attempt:
        return Attempt(Path(self.attempt_dir))

    @property
    def _node_rank(self) -> int:
        return self._allocation.node_rank if self._allocation else 0

    @property
    def _log(self) -> Path:
        return self._attempt.log(self.element, self._node_rank)

    def _listen(self) -> None:
        """From here on a signal is a request to stop; submitit's own handlers would swallow TERM."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._stop_reason = self._stop_reason or signal.Signals(number).name

    def _run_with_restarts(self) -> tuple[int, int]:
        restarts = 0
        while True:
            code = self._run_once()
            if verdict(code) is not Verdict.RESTART or self._stop_reason or restarts >= self.max_restarts:
                return code, restarts
            self._note_use(code)
            restarts += 1

    def _run_once(self) -> int:
        self._run_started = time.time()
        if self._node_rank == 0:
            self._attempt.open_use(self.element, self._use())
        self._name_processes([self._own_process()])
        # Only now look at the driver: one that takes over after its end either finds us named, or we see it gone.
        if self._should_stop():
            return REQUEUE
        try:
            if faults := node_faults(self.needs) if self.needs else []:
                self._say("; ".join(faults))
                return UNHEALTHY_NODE
            if gone := [*self._staged_faults()]:
                raise InputError("\n     ".join(gone))
            argv, env = self._command()
            child = Child(argv, env, self._log)
        except SftError as error:
            self._say(str(error))
            return error.stage_code
        except OSError as error:
            self._say(f"cannot start {self.argv[0]}: {error}")
            return NOT_STARTED
        self._name_processes([self._own_process(), self._located(Process.of(child.pid))])
        return self._watch(child)

    def _staged_faults(self) -> Iterator[str]:
        if self.staged:
            known = partial(remembered_sha256, memory=hashes(self.needs.scratch if self.needs else None))
            for path in self.staged:
                yield from staged_faults(Path(path), known)

    def _command(self) -> tuple[list[str], dict[str, str | None]]:
        argv, env = self._launched(), self._environment()
        if self.container is None:
            return argv, env
        if gone := missing_sources(self.container.binds):
            raise SftError(f"bound into the container, but not on this node: {', '.join(gone)}")
        image = ready_image(Path(self.container.image), self.container.sha256, self.container.staging)
        return self.container.command(argv, image, self.folder), self.container.environment(env)

    def _launched(self) -> list[str]:
        meeting = None
        if self._allocation is not None and self.nodes > 1:
            host = self._allocation.first_host() if self.rendezvous == "auto" else self.rendezvous
            meeting = Rendezvous(host, self._allocation.port)
        return launched_argv(
            self.argv, nodes=self.nodes, processes=self.processes, node_rank=self._node_rank, rendezvous=meeting
        )

    def _watch(self, child: Child) -> int:
        beaten = time.monotonic()
        while (code := child.exit_code()) is None:
            if self._should_stop():
                child.stop(self._attempt.stop(self.element), self.grace_s)
            if time.monotonic() - beaten > _HEARTBEAT_S:
                beaten = time.monotonic()
                with contextlib.suppress(OSError):
                    os.utime(self._attempt.processes(self.element, self._node_rank))
            time.sleep(self.poll_s)
        return code

    def _should_stop(self) -> bool:
        if not self._stop_reason and self._attempt.stop(self.element).exists():
            self._stop_reason = "stop file"
        if not self._stop_reason and self.driver and not Process.from_json(self.driver).is_alive:
            self._stop_reason = "driver gone"
        return bool(self._stop_reason)

    def _name_processes(self, processes: list[Process]) -> None:
        write_json(self._attempt.processes(self.element, self._node_rank), [process.to_json() for process in processes])

    def _own_process(self) -> Process:
        return self._located(current_process())

    def _located(self, process: Process) -> Process:
        """By the node's name in Slurm: one host may be several nodes."""
        return Process(process.pid, process.start, self._allocation.node) if self._allocation else process

    def _environment(self) -> dict[str, str | None]:
        return {
            **{name: _revealed(value) for name, value in self.env.items()},
            ELEMENT_VARIABLE: self.element,
            STOP_VARIABLE: str(self._attempt.stop(self.element)),
            ATTEMPT_VARIABLE: str(self._attempt.number),
            NODES_VARIABLE: self._allocation.node_list if self._allocation else os.uname().nodename,
        }

    def _end(self, code: int, restarts: int) -> dict[str, Any]:
        self._note_use(code)
        ending = {
            "element": self.element, "attempt": self._attempt.number, "exit_code": code, "restarts": restarts,
            "stopped": self._stopped_words(), "seconds": round(time.time() - self._started, 1),
            "host": self._own_process().host, "time": round(time.time(), 1),
        }  # fmt: skip
        write_json(self._attempt.ending(self.element, self._node_rank), ending)
        return ending

    def _stopped_words(self) -> str:
        """USR2 is the scheduler's warning before the limit; any stop in its last seconds is the limit's own."""
        if self._stop_reason and self.time_limit_s:
            warned_s = self.lead_s + EARLY_S if self._stop_reason == signal.SIGUSR2.name else 5.0
            if time.time() - self._started > self.time_limit_s - warned_s:
                return WALLTIME
        return self._stop_reason

    def _use(self) -> dict[str, Any]:
        gpus = self.needs.gpus * self.nodes if self.needs else 0
        host = self._own_process().host
        return {"element": self.element, "started": round(self._run_started, 1), "host": host, "gpus": gpus}

    def _note_use(self, code: int) -> None:
        """What this start took, for the sum over all attempts."""
        if self._node_rank == 0:
            seconds = round(time.time() - self._run_started, 1)
            self._attempt.close_use(self.element, {**self._use(), "seconds": seconds, "exit_code": code})

    def _say(self, text: str) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(f"sft: {text}\n")


def _revealed(value: str | None) -> str | None:
    """`${API_KEY}` becomes the secret here and not before: the payload lies on a shared disk."""
    if value is None or "${" not in value:
        return value
    from sftlib.config.layers import reveal

    return reveal(value)
