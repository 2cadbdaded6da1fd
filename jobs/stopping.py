"""Signals to a driver as a request that its loop looks at: the first asks to stop gently, a second to stop at once."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class StopRequest:
    """Whether, when and how often somebody asked."""

    signal: int = 0
    count: int = 0
    since: float = 0.0
    is_new: bool = False  # not yet passed on

    @property
    def is_made(self) -> bool:
        return self.count > 0

    @property
    def is_urgent(self) -> bool:
        return self.count > 1

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.since if self.is_made else 0.0

    def note(self, number: int, frame: Any = None) -> None:
        if not self.is_made:
            self.signal, self.since, self.is_new = number, time.monotonic(), True
        self.count += 1


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Signals become requests while the block lasts. An ignored signal (nohup) stays ignored."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, request.note)
    try:
        yield request
    finally:
        for number in heard:
            signal.signal(number, before[number] or signal.SIG_DFL)


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Processes started in the block never see the terminal's signals; ours arrive when the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
