"""Which elements of a run are in Slurm's queue now: from the journals of its attempts and one query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.attempts import Attempt
from jobs.plan import MERGE, PREDICT, PREPARE, TRAIN, Element, Need, shards_in
from jobs.slurm.journal import all_journals
from jobs.slurm.queue import Job, read_queue
from sftlib.paths import RunPaths


def job_ids_ever(paths: RunPaths) -> dict[str, tuple[str, Attempt]]:
    """Element -> its newest id in Slurm and attempt, of all that was ever released."""
    return {name: (job, journal.attempt) for journal in all_journals(paths) for name, job in journal.job_ids().items()}


def job_ids(paths: RunPaths) -> dict[str, tuple[str, Attempt]]:
    """The same, of those that did not say how they ended."""
    return {name: at for name, at in job_ids_ever(paths).items() if not at[1].ending(name).exists()}


def slurm_jobs(paths: RunPaths, poll_s: float) -> dict[str, Job]:
    """Element -> what Slurm says of it, of those that it knows."""
    ids = {name: job for name, (job, _) in job_ids(paths).items()}
    known = read_queue(paths, ids.values(), poll_s)
    return {name: known[job] for name, job in ids.items() if job in known}


def live_ids(paths: RunPaths, poll_s: float) -> dict[str, str]:
    """Element -> id, of what is queued or running: it must not be submitted once more."""
    jobs = slurm_jobs(paths, poll_s)
    return {name: job for name, (job, _) in job_ids(paths).items() if name in jobs and jobs[name].is_live}


def without_live(need: Need, live: Mapping[str, str]) -> Need:
    """What is left to submit; a cell whose training is in the queue still counts as trained later."""
    taken: dict[str, set[int]] = {}
    for name in live:
        kind, _, rest = name.partition("/")
        if kind == PREDICT:
            taken.setdefault(rest.rpartition("/")[0], set()).update(shards_in(name))
    left = {cell: tuple(s for s in shards if s not in taken.get(cell, ())) for cell, shards in need.shards.items()}
    return replace(need, shards={cell: shards for cell, shards in left.items() if shards})


def to_submit(elements: list[Element], live: Mapping[str, str]) -> list[Element]:
    """The planned elements that are not in the queue; a merge also waits for those that are."""
    new = [element for element in elements if element.id not in live or element.kind == MERGE]
    if not any(PREPARE in element.after for element in new if element.kind == TRAIN):
        new = [element for element in new if element.kind != PREPARE]  # those who wait for it are in the queue already
    if all(element.kind == MERGE for element in new) and MERGE in live:
        return []
    waited = tuple(name for name in live if name != MERGE)
    return [replace(e, after=tuple(dict.fromkeys([*e.after, *waited]))) if e.kind == MERGE else e for e in new]
