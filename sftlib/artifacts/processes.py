"""What processes that work beside each other need: a name that no later process has (pid, start time, host), whole lines."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STATE, _START = 0, 19  # fields of /proc/PID/stat after the command's closing bracket


@dataclass(frozen=True)
class Process:
    """One process of one host."""

    pid: int
    start: str  # "" where there is no /proc: then the pid alone must do
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        fields = _stat(pid)
        return cls(pid, _start(fields) if fields else "", socket.gethostname())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Process:
        return cls(int(value["pid"]), str(value.get("start", "")), str(value.get("host", "")))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether it runs on this host; a zombie does not."""
        if not self.is_here:
            return False
        fields = _stat(self.pid)
        if fields is None:
            return not Path("/proc/self/stat").exists() and _answers(self.pid)
        return fields[_STATE] not in ("Z", "X") and (not self.start or _start(fields) == self.start)

    def kill(self) -> None:
        """End it at once, if it is still the same one."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def current_process() -> Process:
    return Process.of(os.getpid())


def die_with_parent() -> None:
    """The kernel kills this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def write_lines_whole() -> None:
    """One write a line: processes share a log, and unbuffered output (PYTHONUNBUFFERED, as in every element) writes a
    line and its end apart, with another process's line between them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _start(fields: list[str]) -> str:
    """Ticks since boot say little without the boot: after a restart the same pid and tick can come again."""
    return f"{_boot()}-{fields[_START]}"


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "boot"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
