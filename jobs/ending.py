"""How an element ended, in words: from what its supervisor wrote, or from the silence where it was killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.attempts import WALLTIME, Attempt
from jobs.policy import Verdict, in_words, verdict
from jobs.schedule import State
from jobs.slurm.output import says_out_of_memory
from jobs.tables import plural

_STATES = {Verdict.DONE: State.DONE, Verdict.INCOMPLETE: State.INCOMPLETE}
_KILLED = (-9, 137)
_TAIL_BYTES = 16_384
_LAST_LINES = 3


@dataclass(frozen=True)
class Ending:
    """The last thing known of an element."""

    state: State
    words: str
    log: Path

    def last_lines(self) -> list[str]:
        """The log's last lines, where the reason usually stands."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]  # a progress bar's last state only
        return [line for line in lines if line and not line.startswith("# ")][-_LAST_LINES:]


def ending_of(attempt: Attempt, element: str, *, was_stopped: bool) -> Ending:
    """Read how it ended; what was asked to stop and did not finish is stopped, not failed."""
    written, log = attempt.read_ending(element), attempt.log(element)
    if written is None:
        if was_stopped:
            return Ending(State.STOPPED, "killed while stopping", log)
        return Ending(State.FAILED, "killed together with its supervisor (out of memory, or by hand)", log)
    code = int(written["exit_code"])
    state = _STATES.get(verdict(code), State.FAILED)
    words = in_words(code)
    starts = int(written["restarts"]) + 1
    if code in _KILLED and says_out_of_memory(attempt, element):
        words = "out of memory: killed by Slurm; raise cluster.*.memory_gb"
    elif written["stopped"] == WALLTIME and state is State.FAILED:
        words = (
            f"walltime reached in {plural(starts, 'start')} without finishing; raise cluster.*.time_min, then sft rerun"
        )
    elif written["stopped"] and state is State.FAILED:
        state, words = State.STOPPED, f"stopped ({written['stopped']})"
    elif verdict(code) is Verdict.RESTART:
        words = f"stopped itself {starts} times without finishing"
    return Ending(state, words, log)
