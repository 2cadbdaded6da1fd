"""What Slurm says of our jobs: one squeue, and one sacct for what it no longer knows; at most every 30 s a run.

squeue is enough. sacct may be absent, refuse or be out of order; an empty answer never counts as an ending.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from sftlib.artifacts.atomic import write_json
from sftlib.errors import SftError
from sftlib.paths import RunPaths

_PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
_TIMEOUT_S = 60
_MOST_JOBS = 200  # in one sacct command line


@dataclass(frozen=True)
class Job:
    """One array element as Slurm sees it."""

    state: str  # RUNNING, TIMEOUT, OUT_OF_MEMORY, ...
    reason: str = ""
    nodes: str = ""

    @property
    def is_pending(self) -> bool:
        return self.state in _PENDING

    @property
    def is_live(self) -> bool:
        return self.state in _PENDING or self.state in _RUNNING


def read_queue(paths: RunPaths, job_ids: Iterable[str], poll_s: float) -> dict[str, Job]:
    """Id -> job, of those ids that Slurm knows; not asked again within `poll_s` seconds, by whatever command."""
    wanted = set(job_ids)
    if not wanted:
        return {}
    return {name: job for name, job in _answer(paths, wanted, poll_s).items() if name in wanted}


def count_live(paths: RunPaths, poll_s: float) -> int:
    """Jobs of this user in the queue, array elements one by one, as submit limits count them; by the same answer."""
    return sum(job.is_live for job in _answer(paths, set(), poll_s).values())


def _answer(paths: RunPaths, wanted: set[str], poll_s: float) -> dict[str, Job]:
    """All that Slurm says of this user's jobs, remembered for the next who asks."""
    if remembered := _remembered(paths, poll_s):
        return remembered[1]
    known = ask(wanted)
    _remember(paths, time.time(), known)
    return known


def note_submitted(paths: RunPaths, job_ids: Iterable[str], poll_s: float) -> None:
    """What was asked before did not know these: they are in the queue, and Slurm need not be asked for that."""
    if remembered := _remembered(paths, poll_s):
        asked, known = remembered
        _remember(paths, asked, {**known, **dict.fromkeys(job_ids, Job("PENDING"))})


def forget_queue(paths: RunPaths) -> None:
    """What was asked before is no longer so."""
    paths.queue.unlink(missing_ok=True)


def _remember(paths: RunPaths, asked: float, known: Mapping[str, Job]) -> None:
    write_json(paths.queue, {"time": asked, "jobs": {name: asdict(job) for name, job in known.items()}})


def _remembered(paths: RunPaths, poll_s: float) -> tuple[float, dict[str, Job]] | None:
    """When it was asked, and the answer; nothing where that was too long ago."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(paths.queue.read_text(encoding="utf-8"))
        if 0 <= time.time() - record["time"] < poll_s:
            return record["time"], {name: Job(**job) for name, job in record["jobs"].items()}
    return None


def ask(wanted: set[str]) -> dict[str, Job]:
    """Slurm's answer now; raises SftError when the controller does not answer."""
    known = _squeue()
    ended = {job for job in wanted if job not in known}
    return {**_sacct(ended), **known}


def _squeue() -> dict[str, Job]:
    done = run("squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i|%T|%r|%N")
    if done.returncode:
        raise SftError(f"squeue does not answer: {done.stderr.strip()[-300:]}; try again when the controller is back")
    return _parse(done.stdout)


def _sacct(jobs: Iterable[str]) -> dict[str, Job]:
    arrays = sorted({job.partition("_")[0] for job in jobs}, key=int)[-_MOST_JOBS:]
    if not arrays:
        return {}
    columns = "--format=JobID,State,ExitCode,NodeList"
    done = run("sacct", "--allocations", "--noheader", "--parsable2", columns, "--jobs", ",".join(arrays))
    return _parse(done.stdout) if done.returncode == 0 else {}


def _parse(text: str) -> dict[str, Job]:
    """`12_3|RUNNING|None|node1`; sacct says `CANCELLED by 1000`, and names a range of pending elements as one."""
    jobs = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 4 and fields[1] and "[" not in fields[0]:
            reason = "" if fields[2] in ("None", "0:0") else fields[2]
            jobs[fields[0].strip()] = Job(fields[1].split()[0], reason, fields[3])
    return jobs


def jobs_named(names: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Job id -> job name, of jobs in the queue that bear one of these names; raises SftError when nobody answers."""
    wanted = set(names)
    done = run("squeue", "--me", "--noheader", "--format=%F|%j")
    if done.returncode:
        raise SftError(f"squeue does not answer: {done.stderr.strip()[-300:]}; try again when the controller is back")
    pairs = (line.partition("|") for line in done.stdout.splitlines())
    return {job: name for job, _, name in pairs if name in wanted}


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """A command of Slurm; one that is not there, or hangs, is one that failed."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 127, "", str(error))
