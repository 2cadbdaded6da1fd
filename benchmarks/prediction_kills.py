"""Kill -9 at random moments of a run of two workers and eight shards; each time it is run again. The table at the end must
be that of a run nobody disturbed, nothing may be left beside it, and no reader may ever have met half a file.

python -m benchmarks.prediction_kills [--kills 50] [--seed 0] [--write]

Most moments lie behind the first claim of a shard, where the work is; what each victim was doing is told from what it left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.ranks import leftovers, make_run, preload, rows_of, start_ranks, start_watcher, wait_all
from sftlib.artifacts.atomic import TEMPORARY_SUFFIX
from sftlib.artifacts.claims import is_claim
from sftlib.artifacts.processes import Process
from sftlib.artifacts.shards import VALID, check_shard
from sftlib.config.rundir import Run
from sftlib.paths import CellPaths

SHARDS, RECORDS, WORKERS = 8, 128, 2
LOADING = 0.2  # share of the kills that fall before the first claim, where nothing is at stake yet
PHASES = (
    "loading",
    "answering a shard",
    "writing a shard",
    "between its file and its manifest",
    "between two shards",
    "ending, all shards there",
)

EVENTS = (
    "final tables equal",
    "final tables that differ",
    "files left beside the final tables",
    "kills of both workers",
    "kills of one worker",
    "runs that the other worker finished",
    "moments that came too late, not counted",
)


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
        loading_s, shard_s = _undisturbed(run)
        expected = rows_of(run)
        watcher = start_watcher(run.paths.root, scratch / "stop", scratch / "watched.json")
        killer = Killer(run, loading_s, shard_s, random.Random(arguments.seed), expected, scratch / "log.txt")
        while killer.kills < arguments.kills:
            killer.disturb()
        (scratch / "stop").touch()
        os.waitpid(watcher, 0)
        watched = json.loads((scratch / "watched.json").read_text())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    events = {
        "kills": killer.kills,
        **killer.events,
        **{f"victims killed while {phase}": killer.phases[phase] for phase in PHASES},
    }
    rows = [{"what": name, "count": count} for name, count in events.items()]
    rows += [{"what": "reads by a watcher that globs *.parquet", "count": watched["reads"]},
             {"what": "files that it could not read whole", "count": len(watched["torn"])}]  # fmt: skip
    notes = [
        f"{WORKERS} workers, {SHARDS} shards, {RECORDS} records, a tiny random Llama; undisturbed, {loading_s:.2f} s pass before the "
        f"first claim, and a worker takes {shard_s * 1000:.0f} ms a shard.",
        "Each kill: a fresh run, SIGKILL to both workers or to one at a random moment, then the same command again.",
        "Equal: every column of every row is that of the undisturbed run, each sample once.",
    ]
    publish(
        "prediction_kills", "Kill -9 at random moments of a prediction", rows, notes=notes, write=arguments.write, seed=arguments.seed
    )  # fmt: skip
    failures = killer.events["final tables that differ"] + killer.events["files left beside the final tables"]
    return 1 if watched["torn"] or failures or not watched["reads"] else 0


def _undisturbed(run: Run) -> tuple[float, float]:
    """Seconds until a worker takes the first shard, and from there to the last manifest, for each shard of a worker."""
    cell, began = run.paths.cell("baseline"), time.perf_counter()
    workers = start_ranks(run, WORKERS)
    wait_for(lambda: claims_in(cell) > 0, workers)
    claimed = time.perf_counter()
    wait_for(lambda: manifests_in(cell) == SHARDS, workers)
    finished = time.perf_counter()
    if any(wait_all(workers)):
        raise SystemExit("the undisturbed run failed")
    return claimed - began, (finished - claimed) * WORKERS / SHARDS


class Killer:
    """Disturbs a run again and again, and counts what it met."""

    def __init__(
        self, run: Run, loading_s: float, shard_s: float, draw: random.Random, expected: list[dict[str, Any]], log: Path
    ) -> None:  # fmt: skip
        self._run, self._cell = run, run.paths.cell("baseline")
        self._loading_s, self._shard_s, self._draw, self._log = loading_s, shard_s, draw, log
        self._expected = expected
        self.kills, self.phases = 0, Counter[str]()
        self.events = Counter[str](dict.fromkeys(EVENTS, 0))

    def disturb(self) -> None:
        """One fresh run, one kill, and the same command again."""
        shutil.rmtree(self._cell.predictions, ignore_errors=True)
        workers = start_ranks(self._run, WORKERS, log=self._log)
        self._wait_for_the_moment(workers)
        victims = workers if self._draw.random() < 0.5 else [self._draw.choice(workers)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        is_alone = len(victims) < WORKERS
        phases = [phase_of(self._cell, pid) for pid in victims]  # before a survivor tidies up
        killed = [pid for pid, code in zip(workers, wait_all(workers), strict=True) if code == -signal.SIGKILL]
        if not killed:
            self.events["moments that came too late, not counted"] += 1
            return
        self.kills += 1
        self.phases.update(phase for pid, phase in zip(victims, phases, strict=True) if pid in killed)
        self.events["kills of one worker" if is_alone else "kills of both workers"] += 1
        states = [check_shard(self._cell, index, SHARDS).state for index in range(SHARDS)]
        self.events["runs that the other worker finished"] += is_alone and states.count(VALID) == SHARDS
        wait_all(start_ranks(self._run, WORKERS, log=self._log))
        is_equal = rows_of(self._run) == self._expected and [row["row"] for row in self._expected] == list(
            range(RECORDS)
        )
        self.events["final tables equal" if is_equal else "final tables that differ"] += 1
        self.events["files left beside the final tables"] += len(leftovers(self._run))

    def _wait_for_the_moment(self, workers: list[int]) -> None:
        """Some time after so many shards: by progress and not by the clock, which a busy machine stretches."""
        if self._draw.random() < LOADING:
            time.sleep(self._draw.uniform(0, self._loading_s))
            return
        count = self._draw.randrange(SHARDS)
        wait_for(lambda: manifests_in(self._cell) >= count and (claims_in(self._cell) > 0 or count > 0), workers)
        time.sleep(self._draw.uniform(0, self._shard_s))


def wait_for(condition: Callable[[], bool], workers: list[int]) -> None:
    while not condition():
        if all(not Process.of(pid).is_alive for pid in workers):
            return
        time.sleep(0.001)


def claims_in(cell: CellPaths) -> int:
    return sum(is_claim(path) for path in _listed(cell.predictions))


def manifests_in(cell: CellPaths) -> int:
    return sum(cell.shard_manifest(index, SHARDS).exists() for index in range(SHARDS))


def phase_of(cell: CellPaths, pid: int) -> str:
    """What a worker that was killed was doing, by what it left: its claim names it, its temporary files end in its pid."""
    names = [path.name for path in _listed(cell.predictions)]
    if not names:
        return "loading"
    index = next((i for i in range(SHARDS) if pid in _claimants(cell, i)), None)
    if index is None or cell.shard_manifest(index, SHARDS).exists():
        return "ending, all shards there" if manifests_in(cell) == SHARDS else "between two shards"
    shard = cell.shard(index, SHARDS)
    if shard.exists():
        return "between its file and its manifest"
    is_writing = any(name.endswith(f".{pid}{TEMPORARY_SUFFIX}") and name.startswith(f".{shard.name}") for name in names)
    return "writing a shard" if is_writing else "answering a shard"


def _claimants(cell: CellPaths, index: int) -> list[int]:
    pids = []
    for path in _listed(cell.predictions):
        if is_claim(path) and path.name.startswith(cell.shard_claim(index, SHARDS, 0).name.removesuffix("0")):
            with contextlib.suppress(OSError, ValueError):  # a survivor took it over and released it
                pids.append(json.loads(path.read_text())["pid"])
    return pids


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


if __name__ == "__main__":
    sys.exit(main())
