"""An exit code in, what to do about it and what to call it out."""

from __future__ import annotations

import signal
from enum import StrEnum

from sftlib.errors import BAD_CONFIG, BAD_DATA, INCOMPLETE, REQUEUE, UNHEALTHY_NODE, WRONG_INPUT
from sftlib.errors import DONE as EXIT_DONE


class Verdict(StrEnum):
    """What an exit code asks for."""

    DONE = "done"
    RESTART = "restart"  # a checkpoint is there: go on from it
    NEVER = "never"  # another try gives the same
    ELSEWHERE = "elsewhere"  # not on this node
    INCOMPLETE = "incomplete"  # it ran, and says what is missing
    FAILED = "failed"


_VERDICTS = {
    EXIT_DONE: Verdict.DONE,
    INCOMPLETE: Verdict.INCOMPLETE,
    REQUEUE: Verdict.RESTART,
    WRONG_INPUT: Verdict.NEVER,
    BAD_CONFIG: Verdict.NEVER,
    BAD_DATA: Verdict.NEVER,
    UNHEALTHY_NODE: Verdict.ELSEWHERE,
}
_WORDS = {
    INCOMPLETE: "something is missing",
    WRONG_INPUT: "the input is wrong; another try gives the same",
    BAD_CONFIG: "the configuration is wrong; another try gives the same",
    BAD_DATA: "the data is wrong; another try gives the same",
    UNHEALTHY_NODE: "this node is not healthy",
    REQUEUE: "stopped at a checkpoint",
    127: "the command was not found",
}


def verdict(code: int) -> Verdict:
    return _VERDICTS.get(code, Verdict.FAILED)


def in_words(code: int) -> str:
    """`exit 65 (the data is wrong; ...)`, `killed by SIGKILL (...)`."""
    number = -code if code < 0 else code - 128
    if code < 0 or number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT):
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return f"killed by {name}" + (" (out of memory, or by hand)" if number == signal.SIGKILL else "")
    return f"exit {code}" + (f" ({_WORDS[code]})" if code in _WORDS else "")
