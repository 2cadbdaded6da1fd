"""More elements than an array may hold and the queue may take, on a real Slurm of this machine's own: all run, each once.

python -m benchmarks.many_elements [--elements 1200] [--max-submit 500] [--max-array-size 1001] [--write]

The stages are stand-ins that take no time: what is measured is Slurm, submission, supervisors and the driver. Every call
of Slurm's commands is noted by a wrapper before the real one, and the queue is counted from outside while it runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.jobs import PROJECT, STAND_IN, write_experiment

DEVCLUSTER = PROJECT / "slurm" / "devcluster"
POLL_S, COUNT_S = 30, 2.0
_BURST_S = 5.0  # one look at the queue may be several commands
_WRAPPER = """#!/bin/bash
echo "$(date +%s.%N) $PPID {name} $1" >>"{log}"
exec "{real}" "$@"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1200, help="one training, its shards, the merge (1200)")
    parser.add_argument("--max-submit", type=int, default=500, help="jobs in the queue at once (500)")
    parser.add_argument("--max-array-size", type=int, default=1001, help="Slurm's own (1001)")
    parser.add_argument("--port", type=int, default=18500, help="of the cluster that is brought up (18500)")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    if shutil.which("sbatch") is None:
        print("many_elements: there is no Slurm here: slurm/devcluster install", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="sft-many-"))
    folder.chmod(0o755)
    try:
        with _cluster(folder / "dev", arguments) as conf:
            rows = list(_measure(folder, conf, arguments))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    publish("many_elements", "Many elements on a strict cluster", rows, write=arguments.write)
    return 0


@contextmanager
def _cluster(base: Path, arguments: argparse.Namespace) -> Iterator[Path]:
    options = ["--nodes=3", "--cpus=4", "--mem=64000", f"--max-array-size={arguments.max_array_size}"]
    subprocess.run([DEVCLUSTER, "up", *options, f"--port={arguments.port}", "--base", base], check=True)
    try:
        yield base / "etc" / "slurm.conf"
    finally:
        subprocess.run([DEVCLUSTER, "down", "--base", base], check=True, stdout=subprocess.DEVNULL)


def _measure(folder: Path, conf: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    shards = arguments.elements - 2
    write_experiment(
        folder, records=shards, predict={"num_shards": shards, "shards_per_job": 1, "baseline": False},
        cluster={"max_submit": arguments.max_submit, "max_array_size": arguments.max_array_size, "poll_s": POLL_S},
    )  # fmt: skip
    log = folder / "calls.txt"
    path = f"{_wrappers(folder / 'bin', log)}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "SLURM_CONF": str(conf), "PATH": path, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(STAND_IN), "run", "experiment.json", "--cluster", "slurm", "--wait"]
    started = time.monotonic()
    driver = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    most = _most_in_queue(driver, conf)
    seconds = time.monotonic() - started
    assert driver.returncode == 0, f"sft run: exit {driver.returncode}"
    yield from _checked(folder, arguments, most, _calls(log, driver.pid))
    yield {"what": "sft run to the report", "found": f"{seconds:.0f} s"}
    yield {"what": "of that for each element", "found": f"{seconds / arguments.elements:.2f} s"}
    yield {"what": "sft status of it afterwards", "found": f"{_status_s(folder, env):.2f} s"}


def _checked(
    folder: Path, arguments: argparse.Namespace, most: int, calls: Mapping[str, list[float]]
) -> Iterator[dict[str, Any]]:
    """The promises; a broken one ends the benchmark."""
    starts = _starts(folder)
    assert len(starts) == arguments.elements and set(starts.values()) == {1}, "every element once"
    yield {"what": "elements that ran, each once", "found": str(len(starts)), "allowed": str(arguments.elements)}
    largest = min(arguments.max_submit, arguments.max_array_size)
    needed = 2 + -(-(arguments.elements - 2) // largest)
    assert len(calls["sbatch"]) <= needed, f"{len(calls['sbatch'])} sbatch calls where {needed} do"
    yield {"what": "sbatch calls", "found": str(len(calls["sbatch"])), "allowed": f"{needed}"}
    assert most <= arguments.max_submit, f"{most} jobs in the queue"
    yield {"what": "most jobs in the queue at once", "found": str(most), "allowed": str(arguments.max_submit)}
    looks = _looks([*calls["squeue"], *calls["sacct"]])
    closest = min((later - earlier for earlier, later in itertools.pairwise(looks)), default=float(POLL_S))
    assert closest >= POLL_S - 1, f"two looks at the queue within {closest:.1f} s"
    yield {"what": f"shortest time between two of {len(looks)} looks at the queue", "found": f"{closest:.1f} s",
           "allowed": f"{POLL_S} s"}  # fmt: skip


def _wrappers(folder: Path, log: Path) -> Path:
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct"):
        (folder / name).write_text(_WRAPPER.format(name=name, log=log, real=shutil.which(name)))
        (folder / name).chmod(0o755)
    log.touch()
    return folder


def _calls(log: Path, driver: int) -> dict[str, list[float]]:
    """Command -> when the driver called it; `sbatch --test-only` asks before anything is submitted, and does not count."""
    found: dict[str, list[float]] = {"sbatch": [], "squeue": [], "sacct": []}
    for line in log.read_text().splitlines():
        moment, parent, name, *words = line.split()
        if int(parent) == driver and words[:1] != ["--test-only"]:
            found[name].append(float(moment))
    return found


def _looks(moments: list[float]) -> list[float]:
    """Bursts as one look each."""
    looks: list[float] = []
    last = 0.0
    for moment in sorted(moments):
        if moment - last > _BURST_S:
            looks.append(moment)
        last = moment
    return looks


def _most_in_queue(driver: subprocess.Popen[bytes], conf: Path) -> int:
    """Counted every two seconds until the driver ends."""
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    most = 0
    while driver.poll() is None:
        shown = subprocess.run(command, env={**os.environ, "SLURM_CONF": str(conf)}, capture_output=True, text=True)
        most = max(most, len(shown.stdout.split()))
        time.sleep(COUNT_S)
    return most


def _starts(folder: Path) -> dict[str, int]:
    lines = (folder / "runs" / "latest" / "trace.jsonl").read_text().splitlines()
    names = [event["element"] for event in map(json.loads, lines) if event["event"] == "start"]
    return {name: names.count(name) for name in names}


def _status_s(folder: Path, env: Mapping[str, str]) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "jobs.cli", "status", "runs/latest", "--json"]
    shown = subprocess.run(command, cwd=folder, env=dict(env), check=True, capture_output=True, text=True)
    assert json.loads(shown.stdout)["complete"]
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
