"""Elements and their states: which may start now, and what an ending means for those that come after. No processes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from jobs.plan import AFTER_ANY, STAGES, Element


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    INCOMPLETE = "incomplete"  # the merge ran and says what is missing
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"  # what it needs failed


OVER = (State.DONE, State.INCOMPLETE, State.FAILED, State.STOPPED, State.SKIPPED)


class Schedule:
    """The states of one submission's elements."""

    def __init__(self, elements: Iterable[Element]) -> None:
        # The longest stage first: what trains now holds up predictions later.
        self.elements = {e.id: e for e in sorted(elements, key=lambda element: STAGES.index(element.kind))}
        self.states = dict.fromkeys(self.elements, State.WAITING)

    @property
    def is_over(self) -> bool:
        return all(state in OVER for state in self.states.values())

    def ready(self) -> list[Element]:
        """Waiting elements whose needs are met, in the order in which they should start."""
        return [element for element in self._in(State.WAITING) if self._may_start(element)]

    def start(self, name: str) -> None:
        self.states[name] = State.RUNNING

    def end(self, name: str, state: State) -> None:
        """Note an ending; what needed this element and cannot have it is skipped, and so on down the line."""
        self.states[name] = state
        if state is not State.DONE:
            for element in self._in(State.WAITING):
                if name in element.after and element.condition != AFTER_ANY:
                    self.end(element.id, State.SKIPPED)

    def stop(self) -> None:
        """Nothing more is started."""
        for element in self._in(State.WAITING):
            self.states[element.id] = State.STOPPED

    def _may_start(self, element: Element) -> bool:
        needed = [self.states[name] for name in element.after]
        if element.condition == AFTER_ANY:
            return all(state in OVER for state in needed)
        return all(state is State.DONE for state in needed)

    def _in(self, state: State) -> list[Element]:
        return [self.elements[name] for name, its in self.states.items() if its is state]
