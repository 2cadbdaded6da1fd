"""Arrays into the queue without a double or a gap: all are submitted on hold, and released once the last of them is in.

What a driver leaves that dies in between has not started and is taken back by the next one; what was released goes on.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from jobs.payload import Submission, supervisor
from jobs.slurm.arrays import Array, dependency
from jobs.slurm.journal import Journal, all_journals
from jobs.slurm.queue import jobs_named, note_submitted, run
from jobs.slurm.requests import executor_for, job_name
from jobs.tables import plural
from sftlib.errors import SftError
from sftlib.paths import RunPaths

_MOST_JOBS = 100  # in one command line
_REMEDIES = (
    ("AssocMaxSubmitJobLimit", "set cluster.max_submit to the jobs that you may have in the queue (sacctmgr show assoc)"),
    ("QOSMaxSubmitJob", "set cluster.max_submit to the jobs that you may have in the queue (sacctmgr show qos)"),
    ("Invalid job array specification", "set cluster.max_array_size to the cluster's MaxArraySize (scontrol show config)"),
    ("failed to fetch config", "no Slurm answers on this machine: --cluster local runs without one"),
    ("contact slurm controller", "Slurm's controller does not answer: try later (scontrol ping), or --cluster local"),
    ("partition", "sinfo lists the partitions: set cluster.partition"),
    ("account", "sacctmgr show assoc user=$USER lists your accounts: set cluster.account and cluster.qos"),
    ("time limit", "sinfo -o '%R %l' shows the partitions' limits: set cluster.*.time_min"),
    ("node configuration", "sinfo -o '%R %c %m %G' shows what nodes have: set cluster.*.cpus, memory_gb, gpu_request"),
)  # fmt: skip

Say = Callable[[str], None]


class QueueFullError(SftError):
    """No more jobs of this user are taken now; later perhaps."""


def submit(submission: Submission, journal: Journal, arrays: Sequence[Array], job_ids: Mapping[str, str]) -> None:
    """Submit these arrays and let them start; when one is refused, those before it are taken back.

    `job_ids` names elements that are in the queue already and may be waited for.
    """
    known = dict(job_ids)
    try:
        for array in arrays:
            journal.intend(array, job_name(submission, array))
            job = _sbatch(submission, array, dependency(array.first, known))
            journal.submitted(array, job)
            known |= array.job_ids(job)
    except BaseException:
        take_back(journal)
        raise
    _release(journal)
    note_submitted(submission.run.paths, journal.job_ids().values(), submission.config.cluster.poll_s)


def _sbatch(submission: Submission, array: Array, waits_for: str | None) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    logging.getLogger("submitit").setLevel(logging.CRITICAL)
    executor = executor_for(submission, array, waits_for)
    payloads = [supervisor(submission, element) for element in array.elements]
    try:
        jobs = executor.submit_array(payloads)
    except (FailedJobError, FailedSubmissionError) as error:
        # AssocMaxSubmitJobLimit, QOSMaxSubmitJobPerUserLimit, AssocGrpSubmitJobsLimit...
        refusal = QueueFullError if "SubmitJob" in str(error) else SftError
        raise refusal(f"Slurm refused {array.name}: {explained(str(error))}") from None
    return str(jobs[0].job_id).partition("_")[0]


def explained(message: str) -> str:
    """sbatch's own words, and what to do about them."""
    lines = [line.strip() for line in message.splitlines() if "error:" in line] or message.strip().splitlines()[-1:]
    remedy = next((text for key, text in _REMEDIES if key.lower() in message.lower()), "")
    return " ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines) + (
        f"; {remedy}" if remedy else ""
    )


def _release(journal: Journal) -> None:
    """Written down first: who finds this line goes on with the jobs, and releases them again."""
    jobs = [str(entry.job) for entry in journal.held()]
    journal.released()
    _let_start(jobs)


def _let_start(jobs: Sequence[str]) -> None:
    for part in _parts(jobs):
        done = run("scontrol", "release", ",".join(part))
        if done.returncode:
            raise SftError(
                f"scontrol release {','.join(part)}: {done.stderr.strip()}; the jobs are in the queue, on hold: "
                f"`sft run` again releases them"
            )


def take_back(journal: Journal) -> int:
    """Cancel what was submitted and not released, found by id and by name; how many arrays that were."""
    entries = journal.unfinished()
    jobs = {str(entry.job) for entry in entries if entry.job}
    with contextlib.suppress(SftError) if jobs else contextlib.nullcontext():
        jobs |= set(jobs_named(entry.job_name for entry in entries))
    cancel(jobs)
    journal.abandoned()
    return len(jobs)


def cancel(jobs: Iterable[str]) -> None:
    for part in _parts(sorted(jobs)):
        run("scancel", *part)


def mend(paths: RunPaths, say: Say) -> None:
    """After a driver that died: what it had not released is taken back, what it was about to release is released."""
    for journal in all_journals(paths):
        if journal.unfinished():
            count = take_back(journal)
            say(f"took back      {plural(count, 'array')} of a submission that was interrupted")
        held = _still_held(journal)
        if held:
            _let_start(held)


def _still_held(journal: Journal) -> list[str]:
    """Released in the journal, on hold in the queue."""
    names = {entry.job_name for entry in journal.entries.values() if entry.is_released}
    if not names:
        return []
    done = run("squeue", "--me", "--noheader", "--states=PENDING", "--format=%F|%j|%r")
    rows = (line.rsplit("|", 1) for line in done.stdout.splitlines())
    return sorted({
        left.partition("|")[0] for left, reason in rows if reason == "JobHeldUser" and left.partition("|")[2] in names
    })  # fmt: skip


def _parts(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + _MOST_JOBS] for start in range(0, len(items), _MOST_JOBS)]
