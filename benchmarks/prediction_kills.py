"""Kill -9 at random moments of a run of two workers and eight shards; each time it is run again. The table at the end must
be that of a run nobody disturbed, and no reader may ever have met half a file.

python -m benchmarks.prediction_kills [--kills 50] [--seed 0] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.ranks import leftovers, make_run, preload, rows_of, start_ranks, start_watcher, timed, wait_all
from sftlib.artifacts.shards import VALID, check_shard
from sftlib.config.rundir import Run

SHARDS, RECORDS, WORKERS = 8, 128, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results")
    arguments = parser.parse_args()
    preload()
    scratch = Path(tempfile.mkdtemp(prefix="sft-kills-"))
    try:
        run = make_run(scratch, records=RECORDS, num_shards=SHARDS)
        seconds = timed(run, WORKERS)
        expected = rows_of(run)
        watcher = start_watcher(run.paths.root, scratch / "stop", scratch / "watched.json")
        events = _disturb(run, arguments.kills, seconds, random.Random(arguments.seed), expected, scratch / "log.txt")
        (scratch / "stop").touch()
        os.waitpid(watcher, 0)
        watched = json.loads((scratch / "watched.json").read_text())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    rows = [{"what": name, "count": count} for name, count in events.items()]
    rows += [{"what": "reads by a watcher that globs *.parquet", "count": watched["reads"]},
             {"what": "files that it could not read whole", "count": len(watched["torn"])}]  # fmt: skip
    notes = [
        f"{WORKERS} workers, {SHARDS} shards, {RECORDS} records, a tiny random Llama; an undisturbed run takes {seconds:.1f} s.",
        "Each kill: a fresh run, SIGKILL to both workers or to one at a random moment, then the same command again.",
        "Equal: every column of every row is that of the undisturbed run, each sample once, nothing else left in the folder.",
    ]
    publish(
        "prediction_kills",
        "Kill -9 at random moments of a prediction",
        rows,
        notes=notes,
        write=arguments.write,
        seed=arguments.seed,
    )
    return 1 if watched["torn"] or events["final tables that differ"] or not watched["reads"] else 0


def _disturb(
    run: Run, kills: int, seconds: float, draw: random.Random, expected: list[dict[str, Any]], log: Path
) -> Counter[str]:
    events: Counter[str] = Counter({"kills": 0, "final tables equal": 0, "final tables that differ": 0})
    predictions = run.paths.cell("baseline").predictions
    while events["kills"] < kills:
        shutil.rmtree(predictions, ignore_errors=True)
        workers = start_ranks(run, WORKERS, log=log)
        time.sleep(draw.uniform(0, seconds * 1.05))
        victims = workers if draw.random() < 0.5 else [draw.choice(workers)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        codes = wait_all(workers)
        if -signal.SIGKILL not in codes:
            events["kills that came too late, not counted"] += 1
            continue
        events["kills"] += 1
        events["kills of both workers" if len(victims) == WORKERS else "kills of one worker"] += 1
        left = [check_shard(run.paths.cell("baseline"), index, SHARDS).state for index in range(SHARDS)]
        if len(victims) < WORKERS and left.count(VALID) == SHARDS:
            events["runs that the other worker finished"] += 1
        events["shards that were there after the kill"] += left.count(VALID)
        wait_all(start_ranks(run, WORKERS, log=log))
        is_equal = rows_of(run) == expected and [row["row"] for row in expected] == list(range(RECORDS))
        events["final tables equal" if is_equal else "final tables that differ"] += 1
        events["files left behind after the rerun"] += len(leftovers(run))
    return events


if __name__ == "__main__":
    sys.exit(main())
