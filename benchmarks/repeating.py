"""`sft rerun --verify` of runs that were trained by one process and by several: what repeats bit for bit, what within noise.

python -m benchmarks.repeating [--model DIR] [--only ddp fsdp] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from sftlib.config.references import BUNDLED, bundled_model
from tests.posts import write_experiment

PROJECT = Path(__file__).parents[1]
STRATEGIES = ("single", "ddp", "fsdp", "zero1", "zero2", "zero3")
RANKS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder (default: the bundled one)")
    parser.add_argument("--only", nargs="+", choices=STRATEGIES, default=STRATEGIES, help="ways to train")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    model = arguments.model.resolve() if arguments.model else bundled_model(_bundled())
    with tempfile.TemporaryDirectory(prefix="sft-repeat-") as folder:
        rows = list(_rows(Path(folder), model, arguments.only))
    publish("repeating", "Runs repeated from their receipts", rows, write=arguments.write, model=model.name)
    return 0


def _bundled() -> str:
    from sftlib.config.tree import SFTConfig

    return SFTConfig().model.name_or_path.removeprefix(BUNDLED)


def _rows(folder: Path, model: Path, strategies: list[str]) -> Iterator[dict[str, Any]]:
    for strategy in strategies:
        started = time.perf_counter()
        found = repeat(folder / strategy, model, strategy)
        cell = found["cells"]["main"]
        adapter, predictions = cell["adapter"], cell["predictions"]
        yield {
            "strategy": strategy, "ranks": 1 if strategy == "single" else RANKS,
            "adapter": "equal" if adapter["equal"] else f"differs by {adapter['max_difference']:.2g}",
            "predictions": "equal" if predictions["equal"] else f"{predictions['labels_differ']} labels differ",
            "largest_score_difference": predictions["max_score_difference"], "verified": found["exit_code"] == 0,
            "both_runs_s": time.perf_counter() - started,
        }  # fmt: skip
        assert found["exit_code"] == 0, f"{strategy}: {found}"


def repeat(folder: Path, model: Path, strategy: str) -> dict[str, Any]:
    """Run once, repeat it from its receipt; what `sft rerun --verify --json` says."""
    run_once(folder, model, strategy)
    return json.loads(_sft(folder, "rerun", "runs/latest", "--verify", "--json"))


def run_once(folder: Path, model: Path, strategy: str) -> None:
    ranks = 1 if strategy == "single" else RANKS
    write_experiment(
        folder, model, parallel={"strategy": strategy, "gpus_per_node": ranks},
        predict={"num_shards": 1, "baseline": False},
    )  # fmt: skip
    _sft(folder, "run", "experiment.json", "--cluster", "local")


def _sft(folder: Path, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs.cli", *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words} exited {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
