"""A training whose ranks are killed at random steps, again and again, against the same training left alone.

Each time one rank, drawn at random, gets SIGKILL while a step is running; the launcher must end the others; the training
is started again and goes on from its last whole checkpoint. At the end the loss of every step and the adapter are compared.

python -m benchmarks.killed_training [--kills 10] [--strategies single ddp] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hanging import SPEAKING, wait_for
from benchmarks.harness import publish
from benchmarks.parallel import write_experiment
from sftlib.config.launch import torchrun_argv
from sftlib.paths import CellPaths, RunPaths
from sftlib.train.agent import children

STEPS, SAVE_STEPS = 60, 4
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Training:
    """One training, as a launcher starts it; run it again and it goes on."""

    folder: Path
    experiment: Path
    strategy: str
    steps: int = STEPS

    @property
    def command(self) -> list[str]:
        ranks = 1 if self.strategy == "single" else 2
        settings: dict[str, Any] = {
            "model.dtype": "float32", "train.precision": "fp32", "parallel.strategy": self.strategy,
            "parallel.gpus_per_node": ranks, "train.max_steps": self.steps, "train.batch_size": 4 // ranks,
            "train.gradient_accumulation": 2, "train.save_steps": SAVE_STEPS, "lora.dropout": 0.1,
        }  # fmt: skip
        stage = ["train", str(self.experiment), "--runs-dir", str(self.folder / "runs")]
        stage += [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        return torchrun_argv(stage, processes=ranks) if ranks > 1 else [sys.executable, "-m", "sftlib", *stage]

    @property
    def cell(self) -> CellPaths:
        return RunPaths((self.folder / "runs" / "latest").resolve()).cell("main")

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.command, stdout=log, stderr=log,
                env={**os.environ, **SPEAKING, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
            )  # fmt: skip

    def finish(self) -> None:
        (code,) = wait_for([self.start()], self.folder / "log", 600)
        assert code == 0, f"exit {code}\n{self.log()}"

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def losses(self) -> dict[int, float]:
        """step -> loss, as metrics.jsonl has it now; a line that is being written is not there yet."""
        if not (self.folder / "runs" / "latest").exists() or not self.cell.metrics.exists():
            return {}
        lines = self.cell.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        return {
            (record := json.loads(line))["step"]: record["loss"]
            for line in lines
            if line.endswith("\n") and '"loss"' in line
        }

    def wait_for_step(self, process: subprocess.Popen[bytes], step: int) -> int:
        """Until that step is logged; returns the last step that is."""
        deadline = time.monotonic() + 300
        while (last := max(self.losses(), default=0)) < step:
            assert process.poll() is None, f"ended with {process.returncode} before step {step}\n{self.log()}"
            assert time.monotonic() < deadline, f"no step {step}\n{self.log()}"
            time.sleep(0.002)
        return last


def kill_a_rank(training: Training, process: subprocess.Popen[bytes], generator: random.Random) -> int:
    """SIGKILL to one rank; returns which. The launcher must end what is left of the step."""
    ranks = sorted(children(process.pid)) if training.strategy != "single" else [process.pid]
    rank = generator.randrange(len(ranks))
    os.kill(ranks[rank], signal.SIGKILL)
    code = process.wait(120)
    assert code in (137, -9), f"exit {code}\n{training.log()}"
    assert not any(alive(pid) for pid in ranks), "a rank was left behind"
    return rank


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def survive(training: Training, kills: int, generator: random.Random) -> list[dict[str, Any]]:
    """Train with that many kills; returns where each hit."""
    hits = []
    for number in range(1, kills + 1):
        process = training.start()
        low = max(training.losses(), default=0) if number > 1 else 0
        latest = training.steps * number // (kills + 1)
        killed_after = training.wait_for_step(process, generator.randint(min(low + 1, latest), latest))
        rank = kill_a_rank(training, process, generator)
        whole = sorted(training.cell.checkpoints.glob("*/sftlib-complete.json"), key=lambda path: path.stat().st_mtime)
        hits.append(
            {"step": killed_after, "rank": rank, "goes_on_from": whole[-1].parent.name if whole else "the start"}
        )
    training.finish()
    return hits


def difference(training: Training, alone: Training) -> tuple[float, float]:
    """The largest difference of a step's loss, and of an adapter's weight."""
    from safetensors.torch import load_file

    mine, theirs = training.losses(), alone.losses()
    assert sorted(mine) == sorted(theirs) == list(range(1, training.steps + 1)), "each step is there, once"
    weights = [load_file(each.cell.adapter / "adapter_model.safetensors") for each in (training, alone)]
    assert weights[0].keys() == weights[1].keys()
    apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    return max(abs(mine[step] - theirs[step]) for step in mine), apart


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", default=["single", "ddp"], choices=["single", "ddp", "fsdp"])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--write", action="store_true", help="write results/killed_training.json and killed_training.md"
    )
    arguments = parser.parse_args()
    from tests.tiny import build_tiny_model

    rows = []
    with tempfile.TemporaryDirectory(prefix="sft-kills-") as name:
        experiment = write_experiment(Path(name), build_tiny_model(Path(name) / "model"))
        for strategy in arguments.strategies:
            alone, killed = (
                Training(Path(name) / f"{strategy}-{kind}", experiment, strategy) for kind in ("alone", "killed")
            )
            alone.finish()
            hits = survive(killed, arguments.kills, random.Random(arguments.seed))
            loss, weight = difference(killed, alone)
            hit = ", ".join(f"{hit['step']} (rank {hit['rank']})" for hit in hits)
            rows.append({
                "strategy": strategy, "killed after step": hit, "largest difference of a loss": f"{loss:.1e}",
                "largest difference of a weight": f"{weight:.1e}", "equal": loss <= TOLERANCE,
            })  # fmt: skip
    notes = [
        f"{STEPS} steps of float32 LoRA with dropout over several epochs, a checkpoint every {SAVE_STEPS}; a difference of "
        f"at most {TOLERANCE:g} counts as equal.",
    ]
    publish(
        "killed_training",
        f"Killed {arguments.kills} times in a row",
        rows,
        notes=notes,
        write=arguments.write,
        seed=arguments.seed,
    )
    return 0 if all(row["equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
