"""What Slurm gave this task, and asking it to run this array element again. On the node, by the host's own scontrol."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass

_TRIES, _PAUSE_S = 12, 2.5
_EXCLUDE_S = 25.0  # the time that a requeued job's processes have from TERM to KILL is 30 s by default
_FIRST_PORT, _PORTS = 15_000, 15_000  # below the range from which kernels hand out ports by themselves


@dataclass(frozen=True)
class Allocation:
    """One task of one array element on one node."""

    job_id: str  # "12_3": the element, never the whole array
    raw_job_id: int
    node: str
    node_rank: int
    nodes: int
    node_list: str
    restarts: int

    @property
    def is_first_node(self) -> bool:
        return self.node_rank == 0

    @property
    def port(self) -> int:
        """Of the rendezvous: another one for each job and each restart, for the last one may still linger."""
        return _FIRST_PORT + (self.raw_job_id * 7 + self.restarts * 1009) % _PORTS

    def first_host(self) -> str:
        """The address of the job's first node, resolved here: inside the image there may be no resolver."""
        shown = _slurm("scontrol", "show", "hostnames", self.node_list).stdout.split()
        name = shown[0] if shown else self.node
        try:
            return socket.gethostbyname(name)
        except OSError:
            return name

    def is_running(self) -> bool:
        """Whether Slurm still counts this element as running: then nobody but us asks for it to be run again.

        While it is being cancelled, preempted or requeued by hand it is COMPLETING; a requeue of ours would bring a
        cancelled element back to life.
        """
        for _ in range(_TRIES):
            done = _slurm("squeue", "--noheader", "--jobs", self.job_id, "--format=%T")
            if done.returncode == 0:
                return done.stdout.split()[:1] == ["RUNNING"]
            time.sleep(_PAUSE_S)  # the controller is restarting, or our query got the signal that was meant for the job
        return False

    def requeue(self) -> str:
        """Ask for this element to be run again; "" when granted, else why not."""
        why = ""
        for _ in range(_TRIES):
            done = _slurm("scontrol", "requeue", self.job_id)
            if done.returncode == 0:
                return ""
            why = done.stderr.strip()
            time.sleep(_PAUSE_S)
        return why or "scontrol requeue failed"

    def avoid(self, nodes: list[str]) -> bool:
        """Exclude nodes from the next start; Slurm takes that only of a job that is pending again."""
        until = time.monotonic() + _EXCLUDE_S
        while time.monotonic() < until:
            if _slurm("scontrol", "update", f"JobId={self.job_id}", f"ExcNodeList={','.join(nodes)}").returncode == 0:
                return True
            time.sleep(0.3)
        return False


def read_allocation() -> Allocation | None:
    """From the environment that Slurm sets; None outside a job."""
    env = os.environ
    if env.get("SUBMITIT_EXECUTOR") != "slurm" or "SLURM_JOB_ID" not in env:
        return None
    raw = env["SLURM_JOB_ID"]
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return Allocation(
        job_id=f"{array}_{index}" if array and index else raw,
        raw_job_id=int(raw),
        node=env.get("SLURMD_NODENAME") or socket.gethostname(),
        node_rank=int(env.get("SLURM_NODEID", "0")),
        nodes=int(env.get("SLURM_JOB_NUM_NODES", "1")),
        node_list=env.get("SLURM_JOB_NODELIST", ""),
        restarts=int(env.get("SLURM_RESTART_COUNT") or "0"),
    )


def _slurm(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 1, "", str(error))
