"""How an element ended of which its supervisor could not tell: in Slurm's words, with what to do."""

from __future__ import annotations

from jobs.attempts import Attempt
from jobs.ending import Ending
from jobs.plan import Element
from jobs.schedule import State
from jobs.slurm.output import says_out_of_memory
from jobs.slurm.queue import Job


def ending_in_slurm(attempt: Attempt, element: Element, job: Job | None) -> Ending:
    """From the job's last state; where Slurm has forgotten it, that is said."""
    log = attempt.log(element.id)
    if says_out_of_memory(attempt, element.id):
        job = Job("OUT_OF_MEMORY", nodes=job.nodes if job else "")
    if job is None:
        return Ending(State.FAILED, "gone from Slurm without a word: cancelled, or its node died", log)
    state = State.STOPPED if job.state == "CANCELLED" else State.FAILED
    return Ending(state, slurm_words(element, job), log)


def slurm_words(element: Element, job: Job) -> str:
    """`out of memory: ...; raise cluster.train.memory_gb (now 16)`."""
    section, resources = element.setting, element.resources
    if job.state == "OUT_OF_MEMORY":
        now = f" (now {resources.memory_gb})" if resources.memory_gb else ""
        where = f" on {job.nodes}" if job.nodes else ""
        return f"out of memory: killed by Slurm{where}; raise {section}.memory_gb{now}"
    if job.state in ("TIMEOUT", "DEADLINE"):
        return f"walltime of {resources.time_min} min reached; raise {section}.time_min"
    where = f" on {job.nodes}" if job.nodes else ""
    return {
        "CANCELLED": "cancelled",
        "NODE_FAIL": f"its node failed{where}",
        "BOOT_FAIL": f"its node failed{where}",
        "PREEMPTED": f"preempted{where}, and not requeued",
    }.get(job.state, f"Slurm says {job.state}{where}" + (f" ({job.reason})" if job.reason else ""))
