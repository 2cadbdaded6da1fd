"""What jobs cost: planning a large sweep, starting Python in the image, an empty experiment from submission to report.

python -m benchmarks.jobs [--image FILE] [--write]      the last two need SLURM_CONF to name a running cluster
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import median, publish, race
from sftlib.artifacts.host import cpu_model
from sftlib.config.estimate.compute import kind_of
from sftlib.config.estimate.memory import with_checkpointing
from sftlib.config.load import load_experiment
from sftlib.paths import RunPaths

PROJECT = Path(__file__).parents[1]
CELLS, SHARDS, RECORDS, EARLIER = 1000, 8, 2000, 60
STAND_IN = PROJECT / "tests" / "cluster" / "stand_in_sft.py"
SMALL = {"time_min": 10, "cpus": 1, "memory_gb": 1, "gpus": 0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="CPU image")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft-bench-") as folder:
        rows = [*_planning(Path(folder)), *_starts(arguments.image), *_empty_experiment(Path(folder))]
    publish("jobs", "What jobs cost", rows, write=arguments.write)
    return 0


SHAPE = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336,
         "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}  # fmt: skip


def write_experiment(folder: Path, records: int = 16, cluster: dict[str, Any] | None = None, **sections: Any) -> Path:
    """An experiment with its data, and a model that is staged as far as planning looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        rows = [{"id": f"r{i}", "text": f"{name} {i} " * 20, "label": "ab"[i % 2]} for i in range(records)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "name": "bench", "data": {"train": "train.jsonl", "test": "test.jsonl", "cache": False},
        "task": {"type": "classification", "labels": ["a", "b"], "positive": "a"},
        "model": {"name_or_path": "org/model"}, "lora": {"r": 4},
        "cluster": {"prepare": SMALL, "train": SMALL, "predict": SMALL, "merge": SMALL, **(cluster or {})}, **sections,
    }  # fmt: skip
    staged = folder / "hub" / "models--org--model" / "snapshots" / "main"
    staged.mkdir(parents=True, exist_ok=True)
    (staged / "config.json").write_text(json.dumps(SHAPE))
    os.environ["HF_HUB_CACHE"] = str(folder / "hub")
    path = folder / "experiment.json"
    path.write_text(json.dumps(values))
    return path


def write_trainings(runs_dir: Path, experiment: Path) -> None:
    """Runs of this experiment that came to their end, as far as planning looks at them."""
    config = load_experiment(experiment, [], "slurm").config
    performance = {"device": cpu_model() or "cpu", "kind": kind_of(with_checkpointing(config, False))}
    for number in range(EARLIER):
        cell = RunPaths(runs_dir / f"earlier-{number:03d}").cell("main")
        cell.root.mkdir(parents=True)
        cell.config.write_text(json.dumps(config.to_dict()))
        measured = {**performance, "effort_per_s": 1e11 * (1 + number / EARLIER)}
        cell.summary.write_text(json.dumps({"tokens": 160 * RECORDS, "records": RECORDS, "performance": measured}))


def _planning(folder: Path) -> Iterator[dict[str, Any]]:
    """In a process of its own, for its peak memory; without Slurm, whose answer is not ours to speed up."""
    rates = [round(1e-5 * (1 + index), 8) for index in range(CELLS)]
    path = write_experiment(
        folder / "plan", records=RECORDS, sweep={"grid": {"train.learning_rate": rates}},
        predict={"num_shards": SHARDS, "shards_per_job": 1, "baseline": False},
    )  # fmt: skip
    write_trainings(folder / "runs", path)
    program = (
        "import resource, sys; from jobs.cli import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "plan", str(path), "--cluster", "slurm"]
    without_slurm = {**os.environ, "PATH": os.pathsep.join(_path_without("sbatch"))}
    peaks: dict[str, int] = {}

    def plan(*options: str) -> None:
        done = subprocess.run(
            [*command, *options], env=without_slurm, capture_output=True, text=True, check=True, cwd=folder
        )
        peaks[" ".join(options)] = int(done.stderr.split()[-1])
        assert f"as {EARLIER} earlier trainings here ran" in done.stdout and "counted them" in done.stdout
        if options:
            assert done.stdout.count("#!/bin/bash") == CELLS + 2, "trainings, an array a cell of shards, the merge"

    seconds = race({"": plan, "--scripts": lambda: plan("--scripts")}, rounds=3)
    for options, taken in seconds.items():
        what = f"{' '.join(['sft plan', *options.split()])}: {CELLS:,} cells x {SHARDS} shards, {RECORDS:,} records, {EARLIER} earlier trainings"
        allowed = "" if options else "3 s, 200 MB"
        yield {"what": what, "seconds": median(taken), "peak_MB": float(peaks[options]), "allowed": allowed}


def _path_without(program: str) -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [folder for folder in folders if not (Path(folder) / program).exists()] or ["/nonexistent"]


def _starts(image: Path | None) -> Iterator[dict[str, Any]]:
    """To the first line of Python: here, and in the image with the options of an element."""
    if image is None or not shutil.which("apptainer"):
        return
    from jobs.container import Bind, Container

    container = Container("apptainer", str(image), "", binds=(Bind("/tmp", "/tmp"),))
    inside = container.command(["python3", "-c", "pass"], image, "/tmp")
    peers = {
        "host": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        "image": lambda: subprocess.run(inside, check=True, stderr=subprocess.DEVNULL),
    }
    seconds = race(peers, rounds=7)
    host, image_s = median(seconds["host"]), median(seconds["image"])
    yield {"what": "first line of Python on the host", "seconds": host}
    yield {"what": "first line of Python in the image", "seconds": image_s}
    yield {"what": "added by the container", "seconds": image_s - host, "allowed": "1.5 s"}


def _empty_experiment(folder: Path) -> Iterator[dict[str, Any]]:
    """One cell, one shard, merge; stages that do nothing: what submission, Slurm and supervisors take by themselves."""
    if "SLURM_CONF" not in os.environ:
        return
    write_experiment(folder / "empty", predict={"num_shards": 1, "baseline": False})
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(STAND_IN), "run", "experiment.json", "--cluster", "slurm", "--wait"]
    started = time.time()
    subprocess.run(command, cwd=folder / "empty", env=env, check=True, stdout=subprocess.DEVNULL)
    whole = time.time() - started
    root = (folder / "empty" / "runs" / "latest").resolve()
    lines = [json.loads(line) for line in (root / "trace.jsonl").read_text().splitlines()]
    first = next(line["time"] for line in lines if line["event"] == "start")
    yield {"what": "empty experiment: sft run to the first line of the first stage", "seconds": first - started}
    yield {"what": "empty experiment: sft run to the report (3 elements, one after the other)", "seconds": whole}
    use = json.loads((root / "jobs" / "attempt-001" / "train.main.use.jsonl").read_text().splitlines()[0])
    yield {
        "what": "from the element's start on its node to the first line of its stage",
        "seconds": first - use["started"],
    }


if __name__ == "__main__":
    sys.exit(main())
