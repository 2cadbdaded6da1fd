"""Elements in, the Slurm arrays that hold them out: like with like, what waits for the same together, cut to the limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.plan import AFTER_OK, Element


@dataclass(frozen=True)
class Array:
    """One sbatch: elements that ask for the same and wait for the same."""

    name: str
    elements: tuple[Element, ...]

    @property
    def first(self) -> Element:
        return self.elements[0]

    @property
    def names(self) -> list[str]:
        return [element.id for element in self.elements]

    def job_ids(self, job: str) -> dict[str, str]:
        return ids_in(job, self.names)


def ids_in(job: str, names: Sequence[str]) -> dict[str, str]:
    """Element -> its id in Slurm. submitit submits a single element as a plain job, not as an array."""
    if len(names) == 1:
        return {names[0]: job}
    return {name: f"{job}_{index}" for index, name in enumerate(names)}


def arrays_of(elements: Iterable[Element], max_array_size: int, max_submit: int | None = None) -> list[Array]:
    """In the order of their first elements. An array's largest index is max_array_size - 1."""
    groups: dict[Any, list[Element]] = {}
    for element in elements:
        groups.setdefault(_likeness(element), []).append(element)
    most = min(max_array_size, max_submit or max_array_size)
    parts = [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]
    counts: dict[str, int] = {}
    return [_named(part, counts) for part in parts]


def _likeness(element: Element) -> tuple[Any, ...]:
    resources = element.resources.model_dump_json()
    return element.kind, element.after, element.condition, element.nodes, element.processes, resources


def _named(part: list[Element], counts: dict[str, int]) -> Array:
    kind = part[0].kind
    counts[kind] = counts.get(kind, 0) + 1
    return Array(f"{kind}-{counts[kind]:04d}", tuple(part))


def dependency(element: Element, job_ids: Mapping[str, str]) -> str | None:
    """`afterok:12_0`, `afterany:12:15`: what this element's array waits for, of the elements that are in the queue.

    An array that is waited for as a whole is named once: a merge that waits for thousands of elements must stay short.
    """
    waited = [job_ids[name] for name in element.after if name in job_ids]
    if not waited:
        return None
    jobs = waited if element.condition == AFTER_OK else list(dict.fromkeys(job.partition("_")[0] for job in waited))
    return ":".join([element.condition, *jobs])


def fits(arrays: Sequence[Array], room: int | None) -> int:
    """How many of these arrays, from the front, can be submitted while there is room for so many more jobs."""
    if room is None:
        return len(arrays)
    for count, array in enumerate(arrays):
        room -= len(array.elements)
        if room < 0:
            return count
    return len(arrays)
