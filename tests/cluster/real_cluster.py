"""A devcluster and how tests talk to it: run, submit, wait."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

DEVCLUSTER = Path(__file__).resolve().parents[2] / "slurm" / "devcluster"


@dataclass(frozen=True)
class Cluster:
    """One devcluster under `base`, driven as `user` (None: whoever runs the tests)."""

    base: Path
    user: str | None = None
    script: Path = DEVCLUSTER
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, *argv: str | Path, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        as_user = ["runuser", "-u", self.user, "--"] if self.user else []
        env = {**self.env, "SLURM_CONF": str(self.base / "etc" / "slurm.conf")}
        done = subprocess.run(
            [*as_user, *map(str, argv)],
            env=env,
            cwd=self.base.parent,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} exited {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def devcluster(self, verb: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(self.script, verb, *options, "--base", self.base, check=check, timeout_s=240)

    def submit(self, script: str, *options: str) -> str:
        """sbatch a bash script from a file of its own; the job id."""
        path = Path(tempfile.mkstemp(suffix=".sh", dir=self.base.parent)[1])
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return self.run("sbatch", "--parsable", "--mem=50", *options, path).stdout.strip()

    def states(self, job: str) -> list[str]:
        """The state of each element of a job, as long as the controller remembers it (ten minutes)."""
        shown = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%T", "--jobs", job).stdout
        return shown.split()

    def field(self, job: str, name: str) -> str:
        words = self.run("scontrol", "--oneliner", "show", "job", job).stdout.split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


def wait_until(what: str, condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not so after {timeout_s} s"
        time.sleep(0.1)


def find_free_port(span: int = 30) -> int:
    """The first of `span` ports on which nothing listens; below the range that the kernel hands out by itself.

    Each process begins to look elsewhere: parallel test workers would otherwise take the same ones at the same moment.
    """
    slots = 300
    for attempt in range(slots):
        first = 19000 + span * ((7 * os.getpid() + attempt) % slots)
        if not any(is_listening(first + i) for i in range(span)):
            return first
    raise AssertionError(f"no {span} free ports in a row from 19000 to {19000 + span * slots}")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
