"""What submitit runs for an element: start the stage as a child, own signals, stop file and restarts, write how it ended.

The dataclass is all that is pickled: plain data. The code that runs it is the frozen copy of the submission.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.attempts import Attempt
from jobs.child import NOT_STARTED, Child
from jobs.policy import Verdict, verdict
from jobs.processes import Process, current_process
from sftlib.artifacts.atomic import write_json
from sftlib.errors import ATTEMPT_VARIABLE, ELEMENT_VARIABLE, REQUEUE, STOP_VARIABLE

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


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
    _stop_reason: str = field(default="", init=False, repr=False)

    def __call__(self) -> dict[str, Any]:
        """Run the element to its end; never raises because the stage failed."""
        started = time.monotonic()
        self._listen()
        code, restarts = self._run_with_restarts()
        ending = {
            "element": self.element, "attempt": self._attempt.number, "exit_code": code, "restarts": restarts,
            "stopped": self._stop_reason, "seconds": round(time.monotonic() - started, 1), "host": socket.gethostname(),
        }  # fmt: skip
        write_json(self._attempt.ending(self.element), ending)
        return ending

    @property
    def _attempt(self) -> Attempt:
        return Attempt(Path(self.attempt_dir))

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
            restarts += 1

    def _run_once(self) -> int:
        self._name_processes([current_process()])
        # Only now look at the driver: one that takes over after its end either finds us named, or we see it gone.
        if self._should_stop():
            return REQUEUE
        try:
            child = Child(self.argv, self._environment(), self._attempt.log(self.element))
        except OSError as error:
            self._attempt.log(self.element).write_text(f"sft: cannot start {self.argv[0]}: {error}\n", encoding="utf-8")
            return NOT_STARTED
        self._name_processes([current_process(), Process.of(child.pid)])
        return self._watch(child)

    def _watch(self, child: Child) -> int:
        while (code := child.exit_code()) is None:
            if self._should_stop():
                child.stop(self._attempt.stop(self.element), self.grace_s)
            time.sleep(self.poll_s)
        return code

    def _should_stop(self) -> bool:
        if not self._stop_reason and self._attempt.stop(self.element).exists():
            self._stop_reason = "stop file"
        if not self._stop_reason and self.driver and not Process.from_json(self.driver).is_alive:
            self._stop_reason = "driver gone"
        return bool(self._stop_reason)

    def _name_processes(self, processes: list[Process]) -> None:
        write_json(self._attempt.processes(self.element), [process.to_json() for process in processes])

    def _environment(self) -> dict[str, str | None]:
        return {
            **{name: _revealed(value) for name, value in self.env.items()},
            ELEMENT_VARIABLE: self.element,
            STOP_VARIABLE: str(self._attempt.stop(self.element)),
            ATTEMPT_VARIABLE: str(self._attempt.number),
        }


def _revealed(value: str | None) -> str | None:
    """`${API_KEY}` becomes the secret here and not before: the payload lies on a shared disk."""
    if value is None or "${" not in value:
        return value
    from sftlib.config.layers import reveal

    return reveal(value)
