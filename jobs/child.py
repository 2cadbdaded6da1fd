"""A stage as a child process: started on a leash, its output in a log, stopped gently or at once; never waited for."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LEASH = Path(__file__).with_name("leash.py")
NOT_STARTED = 127


class Child:
    """A running stage."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str | None], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {os.uname().nodename}: {shlex.join(argv)}\n".encode())
            stream.flush()
            # -I -S: nothing of the environment can make the leash itself fail. A session of its own: Ctrl-C at the
            # terminal reaches the driver only, and what the stage leaves behind can be ended as one group.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *argv],
                env=merged_environment(env), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        self._asked_at: float | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs. Polled: a blocking wait holds a lock that a signal handler would wait for for ever."""
        code = self._process.poll()
        if code is not None:
            self._signal_group(signal.SIGKILL)  # workers that it left behind
        return code

    def stop(self, stop_file: Path, grace_s: float) -> None:
        """Ask it to finish its step and save; after `grace_s` it is killed. Call it again and again while it runs."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            stop_file.touch()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        elif now - self._asked_at > grace_s:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def merged_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with `changes`; None takes a variable out."""
    merged: dict[str, str | None] = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}
