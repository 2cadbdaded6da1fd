"""Experiments for the cluster's tests, and `sft` as a user of the cluster would call it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_cluster import Cluster

from sftlib.config.rundir import Run, open_run

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
SMALL = {"time_min": 10, "cpus": 1, "memory_gb": 1, "gpus": 0}


def cluster_section(**more: Any) -> dict[str, Any]:
    return {"prepare": SMALL, "train": SMALL, "predict": SMALL, "merge": SMALL, "signal_lead_s": 30, **more}


@dataclass(frozen=True)
class Workplace:
    """A folder from which experiments are run on the cluster. Stages are stand-ins, unless `is_real`."""

    cluster: Cluster
    folder: Path
    is_real: bool = False
    project: Path = PROJECT  # whose source is run

    def write(self, records: int = 12, **sections: Any) -> Path:
        for name in ("train", "test"):
            rows = [
                {"id": f"r{i}", "text": f"{name} {i}", "label": "hate" if i % 3 else "normal", "group": "ab"[i % 2]}
                for i in range(records)
            ]
            (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {
            "name": "tiny",
            "data": {"train": "train.jsonl", "test": "test.jsonl", "group_columns": ["group"], "cache": False},
            "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"},
            "model": {"name_or_path": "org/model"},
            "lora": {"r": 4},
            "predict": {"num_shards": 4, "shards_per_job": 2, "baseline": False},
            "cluster": cluster_section(),
        }
        path = self.folder / "experiment.json"
        path.write_text(json.dumps({**values, **sections}))
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        program = ["-m", "jobs.cli"] if self.is_real else [str(self.project / "tests" / "cluster" / "stand_in_sft.py")]
        return [sys.executable, *program, *map(str, arguments)]

    @property
    def env(self) -> dict[str, str]:
        staged = self.folder / "hub" / "models--org--model" / "snapshots" / "main"
        staged.mkdir(parents=True, exist_ok=True)
        (staged / "config.json").touch()
        conf = str(self.cluster.base / "etc" / "slurm.conf")
        return {
            **os.environ, "SLURM_CONF": conf, "PYTHONPATH": str(self.project), "OMP_NUM_THREADS": "1",
            "HF_HUB_CACHE": str(self.folder / "hub"),
        }  # fmt: skip

    def sft(self, *arguments: str | Path, expect: int = 0, timeout_s: float = 300) -> str:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == expect, f"{arguments} exited {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def run(self, *arguments: str | Path, expect: int = 0, timeout_s: float = 300) -> str:
        return self.sft("run", "experiment.json", "--cluster", "slurm", *arguments, expect=expect, timeout_s=timeout_s)

    @property
    def latest(self) -> Run:
        return open_run(self.folder / "runs" / "latest")

    def behave(self, **behaviours: dict[str, Any]) -> None:
        """What the stand-ins do, for the run that the experiment makes: plan it first."""
        plan = json.loads(self.sft("plan", "experiment.json", "--cluster", "slurm", "--json"))
        root = Path(plan["run_dir"])
        root.mkdir(parents=True, exist_ok=True)
        names = {name.replace("__", "/"): behaviour for name, behaviour in behaviours.items()}
        (root / "behaviours.json").write_text(json.dumps(names))

    def trace(self) -> list[dict[str, Any]]:
        path = self.latest.paths.root / "trace.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def starts(self) -> dict[str, int]:
        """Element -> how often it was started."""
        names = [event["element"] for event in self.trace() if event["event"] == "start"]
        return {name: names.count(name) for name in names}

    def job_of(self, element: str) -> str:
        """The element's newest id in Slurm."""
        from jobs.slurm.live import job_ids_ever

        return job_ids_ever(self.latest.paths)[element][0]
