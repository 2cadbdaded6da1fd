"""A request to stop: TERM, USR1, USR2 or the stop file. Only noted here; the step in progress is finished and saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sftlib.errors import STOP_VARIABLE

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """Whether someone asked. Slurm signals every process of a step, often twice: all of it may come again."""

    def __init__(self) -> None:
        named = os.environ.get(STOP_VARIABLE)
        self._file = Path(named) if named else None
        self._signalled = False
        self._also: Callable[[int], None] | None = None

    def listen(self, also: Callable[[int], None] | None = None) -> None:
        """Take the signals. Called at the start, and again before the first step: a library may have replaced us.
        `also` is told each signal: a launcher hands it on."""
        self._also = also
        for number in SIGNALS:
            signal.signal(number, self._note)

    def is_made(self) -> bool:
        return self._signalled or bool(self._file and self._file.exists())

    def _note(self, number: int, frame: Any) -> None:
        self._signalled = True  # a handler may be entered in the middle of anything: do next to nothing
        if self._also:
            self._also(number)
