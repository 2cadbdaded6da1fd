"""The whole chain on a Slurm cluster of this machine's own, stages in the image; then the same on the local profile, compared.

python -m benchmarks.cluster_demo --image sft-cpu.sif [--write] [--verify]
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
from jobs.verifying import NOISE_LABELS, NOISE_SCORE

PROJECT = Path(__file__).parents[1]
EXPERIMENT = PROJECT / "configs" / "experiments" / "demo_cluster.yaml"
DEVCLUSTER = PROJECT / "slurm" / "devcluster"
NODES, RANKS = 2, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--image", type=Path, default=PROJECT / ".cache/images/sft-cpu.sif", help="CPU image (make image)"
    )
    parser.add_argument("--folder", type=Path, help="where the runs go (default: a temporary folder, removed)")
    parser.add_argument("--verify", action="store_true", help="also repeat the run (sft rerun --verify)")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft-demo-") as temporary:
        return _demonstrate(arguments, (arguments.folder or Path(temporary)).absolute(), Path(temporary) / "dev")


def _demonstrate(arguments: argparse.Namespace, folder: Path, base: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "SLURM_CONF": str(base / "etc" / "slurm.conf")}
    up = [DEVCLUSTER, "up", "--base", base, "--nodes", "3", "--cpus", "4", "--mem", "16000", "--port", "18400"]
    subprocess.run(up, check=True)
    try:
        image = ["--set", "container.runtime=apptainer", "--set", f"container.image={arguments.image.absolute()}"]
        slurm_s = _sft(folder, env, "run", EXPERIMENT, "--cluster", "devcluster", *image, "--wait")
        on_slurm = (folder / "runs" / "latest").resolve()
        if arguments.verify:
            _sft(folder, env, "rerun", on_slurm, "--verify")
    finally:
        subprocess.run([DEVCLUSTER, "down", "--base", base], check=True)
    one_machine = ["--set", "parallel.nodes=1", "--set", f"parallel.gpus_per_node={NODES * RANKS}"]
    local_s = _sft(folder, env, "run", EXPERIMENT, "--cluster", "local", *one_machine)
    on_local = (folder / "runs" / "latest").resolve()
    rows = list(_compared(on_slurm, on_local))
    notes = [
        f"Slurm: 3 nodes, each cell on {NODES} nodes x {RANKS} processes in the image, {slurm_s:.0f} s from `sft run` to the report.",
        f"Local profile: the same cells on one node x {NODES * RANKS} processes in this Python, {local_s:.0f} s.",
        f"Stated noise: at most {NOISE_LABELS:.0%} of the labels differ, scores by at most {NOISE_SCORE}.",
        *_steps(on_slurm),
    ]
    publish("cluster_demo", "The demonstration on Slurm and Apptainer against the local profile", rows, notes=notes,
            write=arguments.write)  # fmt: skip
    return 0 if all(row["within_noise"] == "yes" for row in rows) else 1


def _sft(folder: Path, env: dict[str, str], *words: str | Path) -> float:
    started = time.monotonic()
    command = [sys.executable, "-m", "jobs.cli", *map(str, words)]
    subprocess.run(command, cwd=folder, env={**env, "PYTHONPATH": str(PROJECT)}, check=True)
    return time.monotonic() - started


def _compared(first: Path, second: Path) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "sftlib", "repeat", str(first), str(second)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    metrics = [json.loads((root / "report" / "metrics.json").read_text())["cells"] for root in (first, second)]
    for cell, parts in found.items():
        predictions, f1 = parts["predictions"], [cells[cell]["overall"]["f1"] for cells in metrics]
        is_near = (
            predictions["labels_differ"] <= NOISE_LABELS * predictions["rows"]
            and (predictions["max_score_difference"] or 0) <= NOISE_SCORE
        )
        yield {
            "cell": cell, "F1_on_Slurm": f1[0], "F1_local": f1[1], "records": predictions["rows"],
            "labels_that_differ": predictions["labels_differ"], "largest_score_difference": predictions["max_score_difference"],
            "largest_weight_difference": parts["adapter"]["max_difference"] if parts["adapter"] else None,
            "within_noise": "yes" if is_near else "no",
        }  # fmt: skip


def _steps(root: Path) -> Iterator[str]:
    """What each array was."""
    for line in (root / "jobs" / "attempt-001" / "submission.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "intended":
            yield f"{event['array']}: {', '.join(event['elements'])}"


if __name__ == "__main__":
    sys.exit(main())
