"""An array in, the sbatch script out: parameters for submitit's Slurm executor, and the text that it makes of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jobs.payload import Submission, host_python, signal_lead_s
from jobs.slurm.arrays import Array
from sftlib.artifacts.hashing import sha256_text
from sftlib.config.cluster import ClusterSection


def executor_for(submission: Submission, array: Array, waits_for: str | None) -> Any:
    """submitit's executor, ready to submit this array."""
    executor = _executor_class()(
        submission.attempt.array(array.name), python=host_python(submission.code, inherits=False)
    )
    executor.update_parameters(**parameters(submission, array, waits_for))
    return executor


@cache
def _executor_class() -> type:
    from submitit.slurm.slurm import SlurmExecutor

    class ArrayExecutor(SlurmExecutor):
        """submitit's, also where there is no srun: `sft plan --scripts` on a laptop."""

        @classmethod
        def affinity(cls) -> int:
            return 2

        @classmethod
        def name(cls) -> str:
            return "slurm"

    return ArrayExecutor


def script(submission: Submission, array: Array, waits_for: str | None) -> str:
    """Exactly the text that sbatch would get."""
    executor = executor_for(submission, array, waits_for)
    if len(array.elements) > 1:
        executor.parameters["map_count"] = len(array.elements)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def parameters(submission: Submission, array: Array, waits_for: str | None) -> dict[str, Any]:
    """As submitit names them; what it has no name for goes by sbatch's own."""
    cluster, element = submission.config.cluster, array.first
    resources = element.resources
    known = {
        "job_name": job_name(submission, array),
        "time": resources.time_min,
        "nodes": element.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "mem": f"{resources.memory_gb}GB" if resources.memory_gb else None,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": ",".join(cluster.exclude) or None,
        "exclusive": cluster.exclusive or None,
        "setup": list(cluster.setup) or None,
        "dependency": waits_for,
        "array_parallelism": cluster.max_parallel or len(array.elements),
        "signal_delay_s": signal_lead_s(submission.config, resources.time_min),
        "stderr_to_stdout": True,
        "wckey": None,
        # A dead rank ends the step on all nodes. Since 22.05 srun no longer takes over the job's CPUs a task by itself.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={resources.cpus}"],
        "additional_parameters": _additional(submission, cluster, resources.gpus or 0),
    }
    # None where a default of submitit's would be written instead
    return {name: value for name, value in known.items() if value is not None or name == "wckey"}


def _additional(submission: Submission, cluster: ClusterSection, gpus: int) -> dict[str, Any]:
    more: dict[str, Any] = {
        "chdir": str(submission.run.paths.root),
        "hold": True,  # nothing starts until all of the run is submitted: then it is released
        "kill-on-invalid-dep": "yes",
        "requeue": True,
    }
    if gpus:
        option, _, value = cluster.gpu_request.format(n=gpus).partition("=")
        more[option.removeprefix("--")] = value
    if cluster.mail:
        more |= {"mail-user": cluster.mail, "mail-type": "END,FAIL"}
    return more


def job_name(submission: Submission, array: Array) -> str:
    """Unique among a user's jobs: by it an array is found again whose sbatch was not heard of any more."""
    root = submission.run.paths.root
    return f"{root.name}:{submission.attempt.number}:{array.name}:{_place(root)}"


def _place(root: Path) -> str:
    return sha256_text(str(root))[:8]
