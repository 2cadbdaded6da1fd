"""Whether a start that ended asks for another one, and the asking: by the supervisor, before it exits. On the node."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.attempts import Attempt
from jobs.policy import Verdict, verdict
from jobs.slurm.allocation import Allocation
from sftlib.artifacts.atomic import write_json
from sftlib.errors import DONE, REQUEUE

_END_S, _POLL_S = 90.0, 0.2  # after a requeue Slurm ends us; a controller that is slow gets this long


@dataclass(frozen=True)
class Requeue:
    """One start of an array element on this node."""

    attempt: Attempt
    element: str
    allocation: Allocation
    nodes: int
    max_restarts: int
    exclude: tuple[str, ...]  # nodes that the submission excludes already

    def is_wanted(self, code: int, *, was_stopped: bool, since: float) -> bool:
        """After a stage that was stopped, with a checkpoint or in the middle, or on a node that cannot do it."""
        if code == DONE or self.allocation.restarts >= self.max_restarts or self.attempt.cancelled.exists():
            return False
        if verdict(code) is Verdict.ELSEWHERE:
            return True
        was_ended = was_stopped and (code < 0 or code > 128)
        return (verdict(code) is Verdict.RESTART or was_ended) and not self._has_failed_elsewhere(since)

    def ask_and_wait(self, code: int, say: Callable[[str], None]) -> None:
        """Exiting first would count as done or failed: Slurm ends us. Returns when it refuses."""
        allocation, is_elsewhere = self.allocation, verdict(code) is Verdict.ELSEWHERE
        if is_elsewhere:
            self._note_bad_node()
        if (allocation.is_first_node or is_elsewhere) and allocation.is_running() and (why := allocation.requeue()):
            say(f"not requeued: {why}")
            return
        if is_elsewhere and not allocation.avoid([*self.exclude, *self.attempt.read_bad_nodes(self.element)]):
            say(f"{allocation.node} could not be excluded from the next start")
        until = time.monotonic() + _END_S
        while time.monotonic() < until:
            time.sleep(_POLL_S)

    def _note_bad_node(self) -> None:
        known = self.attempt.read_bad_nodes(self.element)
        write_json(self.attempt.bad_nodes(self.element), sorted({*known, self.allocation.node}))

    def _has_failed_elsewhere(self, since: float) -> bool:
        """Whether another node of this element failed in this start: then our stop was only its consequence."""
        others = (rank for rank in range(self.nodes) if rank != self.allocation.node_rank)
        endings = (self.attempt.read_ending(self.element, rank) for rank in others)
        return any(
            ending and ending["time"] > since and ending["exit_code"] not in (DONE, REQUEUE) for ending in endings
        )
