"""What several workers gain, and what a shard costs besides its records.

python -m benchmarks.prediction_workers [--write]

Workers are forked from a process that has the libraries loaded. Two workers against one: once with a latency in place of
computing (what the sharing of work itself gives), once with a real model. What two cores give at most is told by two
processes that share nothing: two runs of half the records, one worker each, at once. Overhead: the same 512 records in 1
to 512 shards, with a model that answers at once.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.ranks import make_run, preload, start_ranks, wait_all
from sftlib.config.rundir import Run

RECORDS, SHARDS = 512, (1, 64, 512)  # between fewer shards the machine's noise is larger than what they cost
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
        "share nothing: two runs of half the records, a worker each, at once: the most that this machine's cores can give. Where "
        "it stays below 2 they share a physical core; then cpu s, the processor time of all workers together, grows as well.",
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
    rows = []
    for what, latency_ms, predict in (
        ("waiting 40 ms a record", "40", {"engine": "dummy"}),
        ("SmolLM2-135M, fp32", "0", {"model": "bundled:smollm2-135m-instruct"}),
    ):  # fmt: skip
        os.environ[LATENCY] = latency_ms
        folder = scratch / what.partition(" ")[0]
        whole = make_run(folder / "whole", records=192, num_shards=16, **predict)
        halves = [make_run(folder / half, records=96, num_shards=8, **predict) for half in ("left", "right")]
        rows += _compare(what, whole, halves, rounds)
    return rows


def _compare(what: str, whole: Run, halves: list[Run], rounds: int) -> list[dict[str, Any]]:
    ways: dict[str, tuple[list[Run], int]] = {"1": ([whole], 1), "2": ([whole], 2), "2 that share nothing": (halves, 1)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (runs, count) in ways.items():
            found[name].append(_fresh(runs, count))
    alone = statistics.median(seconds for seconds, _ in found["1"])
    rows = []
    for name, times in found.items():
        seconds = statistics.median(time for time, _ in times)
        rows.append({"what": what, "workers": name, "shards": whole.num_shards, "seconds": round(seconds, 2),
                     "cpu_s": round(statistics.median(cpu for _, cpu in times), 2), "faster_by": round(alone / seconds, 2)})  # fmt: skip
    return rows


def _overhead(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    runs = {
        count: make_run(scratch / str(count), records=RECORDS, num_shards=count, engine="dummy") for count in SHARDS
    }
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in runs}
    for _ in range(rounds):
        for count, run in runs.items():
            found[count].append(_fresh([run], 1))
    least = {count: min(time for time, _ in times) for count, times in found.items()}
    medians = {count: statistics.median(time for time, _ in times) for count, times in found.items()}
    return [
        {"what": "answers at once", "workers": "1", "shards": count, "seconds": round(medians[count], 2),
         "cpu_s": round(statistics.median(cpu for _, cpu in found[count]), 2),
         "ms_a_shard": round((medians[count] - medians[1]) / (count - 1) * 1000, 1) if count > 1 else None,
         "ms_a_shard_at_best": round((least[count] - least[1]) / (count - 1) * 1000, 1) if count > 1 else None}
        for count in runs
    ]  # fmt: skip


def _fresh(runs: list[Run], count: int) -> tuple[float, float]:
    """Wall and processor seconds of `count` workers on each run, all at once; nothing is there when they start."""
    for run in runs:
        shutil.rmtree(run.paths.cell("baseline").predictions, ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    codes = wait_all([pid for run in runs for pid in start_ranks(run, count)])
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if any(codes):
        raise SystemExit(f"workers ended with {codes}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
