"""What several workers gain, and what a shard costs besides its records.

python -m benchmarks.prediction_workers [--write]

Workers are forked from a process that has the libraries loaded. Two workers against one: once with a latency in place of
computing (what the sharing of work itself gives), once with a real model (what this machine's cores give). Overhead: the
same 512 records in 1 to 512 shards, with a model that answers at once.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.ranks import make_run, preload, timed
from sftlib.config.rundir import Run

RECORDS = 512
LATENCY = "SFTLIB_DUMMY_LATENCY_MS"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results")
    arguments = parser.parse_args()
    preload()
    scratch = Path(tempfile.mkdtemp(prefix="sft-workers-"))
    try:
        rows = [*_two_against_one(scratch, arguments.rounds), *_overhead(scratch, arguments.rounds)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    notes = [
        "Seconds are the median of the rounds; the runs take turns, so that noise of the machine hits all.",
        "cpu s: processor time of all workers together. Two workers that share one physical core, or a busy machine, need more "
        "of it for the same work, and then less is gained than by waiting.",
        f"Overhead: (seconds with N shards - seconds with 1) / (N - 1), {RECORDS} records in all; claim, Parquet, hash, "
        "three fsyncs and manifest.",
    ]
    publish(
        "prediction_workers",
        "Workers of a prediction, and the cost of a shard",
        rows,
        notes=notes,
        write=arguments.write,
    )
    return 0


def _two_against_one(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    os.environ[LATENCY] = "40"
    waiting = make_run(scratch / "waiting", records=192, num_shards=16, engine="dummy")
    rows = _pair("waiting 40 ms a record", waiting, rounds)
    os.environ[LATENCY] = "0"
    model = "bundled:smollm2-135m-instruct"
    return rows + _pair(
        "SmolLM2-135M, fp32", make_run(scratch / "real", records=192, model=model, num_shards=16), rounds
    )


def _pair(what: str, run: Run, rounds: int) -> list[dict[str, Any]]:
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for count in found:
            found[count].append(_fresh(run, count))
    rows = []
    for count, times in found.items():
        seconds = statistics.median(time for time, _ in times)
        alone = statistics.median(time for time, _ in found[1])
        rows.append({"what": what, "workers": count, "shards": run.num_shards, "seconds": round(seconds, 2),
                     "cpu_s": round(statistics.median(cpu for _, cpu in times), 2), "faster_by": round(alone / seconds, 2)})  # fmt: skip
    return rows


def _overhead(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    runs = {
        count: make_run(scratch / str(count), records=RECORDS, num_shards=count, engine="dummy")
        for count in (1, 8, 64, 512)
    }
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in runs}
    for _ in range(rounds):
        for count, run in runs.items():
            found[count].append(_fresh(run, 1))
    least = {count: min(time for time, _ in times) for count, times in found.items()}
    medians = {count: statistics.median(time for time, _ in times) for count, times in found.items()}
    return [
        {"what": "answers at once", "workers": 1, "shards": count, "seconds": round(medians[count], 2),
         "cpu_s": round(statistics.median(cpu for _, cpu in found[count]), 2),
         "ms_a_shard": round((medians[count] - medians[1]) / (count - 1) * 1000, 1) if count > 1 else None,
         "ms_a_shard_at_best": round((least[count] - least[1]) / (count - 1) * 1000, 1) if count > 1 else None}
        for count in runs
    ]  # fmt: skip


def _fresh(run: Run, count: int) -> tuple[float, float]:
    """Wall and processor seconds of a run that finds nothing there."""
    shutil.rmtree(run.paths.cell("baseline").predictions, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = timed(run, count)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
