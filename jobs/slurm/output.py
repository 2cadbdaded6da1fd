"""What Slurm itself wrote beside an element: the output of its job, where the reason of a kill stands."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.attempts import Attempt
from jobs.slurm.journal import read_journal

_TAIL_BYTES = 16_384
_MEMORY = re.compile(
    rb"exceeded (job|step) memory limit|oom[-_ ]kill|out[ -]of[ -]memory|memory limit .*being killed", re.IGNORECASE
)


def slurm_output(attempt: Attempt, element: str) -> Path | None:
    """The file of the element's first node; None for the local scheduler, or before anything was said."""
    job = read_journal(attempt).job_ids().get(element)
    return next(attempt.root.glob(f"submitit/*/{job}_0_log.out"), None) if job else None


def says_out_of_memory(attempt: Attempt, element: str) -> bool:
    """Whether the node's step daemon killed it for its memory: no process of ours lived to tell."""
    path = slurm_output(attempt, element)
    if path is None:
        return False
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return bool(_MEMORY.search(stream.read()))
