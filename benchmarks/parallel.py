"""Every way to share a training gives the loss curve of one process, and an adapter that plain PEFT loads.

Real processes under torchrun (gloo on a CPU): one process, DDP, FSDP2 and ZeRO 1, 2, 3 with two ranks, and two agents as
two nodes; each with LoRA in float32 and with a 4-bit base in bfloat16. Six steps on the same records.

python -m benchmarks.parallel [--model DIR] [--only ddp fsdp] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hanging import SPEAKING, wait_for
from benchmarks.harness import publish
from sftlib.config.launch import Rendezvous, torchrun_argv
from sftlib.config.references import BUNDLED, bundled_model
from sftlib.paths import RunPaths

STEPS, BATCH, EFFECTIVE_BATCH = 6, 2, 8
LIMIT_S = 900  # of one training
TOLERANCE = {"lora": 1e-3, "qlora": 2e-2}  # of a step's loss, against one process
TWO_NODES = "2 nodes"
STRATEGIES = ("single", "ddp", "fsdp", "zero1", "zero2", "zero3", f"ddp, {TWO_NODES}", f"fsdp, {TWO_NODES}")
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"model.dtype": "float32", "train.precision": "fp32"},
    "qlora": {"model.dtype": "bfloat16", "train.precision": "bf16", "model.quantization.kind": "nf4"},
}


@dataclass(frozen=True)
class Outcome:
    """One training."""

    kind: str
    strategy: str
    engine: str  # as the program said after it had looked
    losses: list[float]
    adapter: Path
    seconds: float


@dataclass(frozen=True)
class Line:
    """One training against the one process."""

    kind: str
    strategy: str
    engine: str
    losses: list[float]
    loss_difference: float  # the largest of all steps
    logit_difference: float  # the adapter under plain PEFT in one process, against the one process's adapter
    logit_spread: float  # standard deviation of the logits: what a difference is to be held against
    seconds: float

    @property
    def is_equal(self) -> bool:
        return self.loss_difference <= TOLERANCE[self.kind]


def train(folder: Path, experiment: Path, kind: str, strategy: str, **settings: Any) -> Outcome:
    """Train once; raises with the log's end when it fails."""
    name, _, several_nodes = strategy.partition(", ")
    ranks = 1 if name == "single" else 2
    values = {
        **KINDS[kind], "parallel.strategy": name, "parallel.gpus_per_node": 1 if several_nodes else ranks,
        "parallel.nodes": 2 if several_nodes else 1, "train.max_steps": STEPS, "train.batch_size": BATCH,
        "train.gradient_accumulation": EFFECTIVE_BATCH // (BATCH * ranks), "cluster.scheduler": "slurm", **settings,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    stage = ["train", str(experiment), "--runs-dir", str(folder / "runs")]
    stage += [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    started = time.time()
    _run(_commands(stage, ranks, bool(several_nodes)), folder / "log")
    cell = RunPaths((folder / "runs" / "latest").resolve()).cell("main")
    lines = [json.loads(line) for line in cell.metrics.read_text(encoding="utf-8").splitlines()]
    said = [line for line in (folder / "log").read_text(encoding="utf-8").splitlines() if line.startswith("engine ")]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == STEPS and len(said) == 1, f"{folder}: {len(losses)} steps, {said}"
    return Outcome(kind, strategy, said[0].partition(": ")[2], losses, cell.adapter, time.time() - started)


def _commands(stage: list[str], ranks: int, on_two_nodes: bool) -> list[list[str]]:
    if on_two_nodes:
        meet = Rendezvous("127.0.0.1", _free_port())
        return [torchrun_argv(stage, nodes=2, processes=1, node_rank=rank, rendezvous=meet) for rank in (0, 1)]
    return [torchrun_argv(stage, processes=ranks)] if ranks > 1 else [[sys.executable, "-m", "sftlib", *stage]]


def _run(commands: list[list[str]], log: Path) -> None:
    environment = {**os.environ, **SPEAKING, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        running = [subprocess.Popen(command, stdout=stream, stderr=stream, env=environment) for command in commands]
        codes = wait_for(running, log, LIMIT_S)
    if any(codes):
        raise RuntimeError(f"exit {codes}: {' '.join(commands[0])}\n{log.read_text(encoding='utf-8')[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_logits(model: Path, adapter: Path, kind: str) -> Any:
    """Logits of fixed token ids with nothing but transformers and PEFT, in this process."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from sftlib.models.cpu_engines import prepare_4bit

    quantized: dict[str, Any] = {}
    if kind == "qlora":
        prepare_4bit()
        quantized["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
    dtype = torch.bfloat16 if kind == "qlora" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **quantized)
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    ids = torch.arange(3, 67).reshape(4, 16)
    with torch.no_grad():
        return tuned(input_ids=ids).logits.float()


def compare(outcome: Outcome, single: Outcome, model: Path) -> Line:
    logits, reference = (plain_logits(model, each.adapter, each.kind) for each in (outcome, single))
    return Line(
        outcome.kind, outcome.strategy, outcome.engine, outcome.losses,
        max(abs(a - b) for a, b in zip(outcome.losses, single.losses, strict=True)),
        float((logits - reference).abs().max()), float(reference.std()), round(outcome.seconds, 1),
    )  # fmt: skip


def write_experiment(folder: Path, model: Path) -> Path:
    """Records of many lengths, all tokens supervised: ranks and batches hold unequal numbers of supervised tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["welcome", "trouble", "kind people", "on our street", "a post about nothing", "here"]
    for split, count in (("train", STEPS * EFFECTIVE_BATCH), ("test", 4)):
        records = [
            {"instruction": f"say {words[i % 6]} {i}", "output": " ".join(words[(i + k) % 6] for k in range(i * 7 % 9 + 1))}
            for i in range(count)
        ]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    experiment = {
        "name": "parallel",
        "data": {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")},
        "task": {"type": "generation"},
        "model": {"name_or_path": str(model)},
        "lora": {"r": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"},
        "train": {"loss_on": "all", "learning_rate": 2e-3, "warmup_ratio": 0.0, "logging_steps": 1, "loggers": []},
    }
    path = folder / "experiment.json"
    path.write_text(json.dumps(experiment, indent=1), encoding="utf-8")
    return path


def row(line: Line) -> dict[str, Any]:
    """A line of the table."""
    return {
        "base": line.kind, "strategy": line.strategy, "engine that ran": line.engine,
        "loss at each step": " ".join(f"{loss:.4f}" for loss in line.losses),
        "largest difference of a loss": f"{line.loss_difference:.1e}" + ("" if line.is_equal else " TOO LARGE"),
        "largest difference of a logit": f"{line.logit_difference:.1e} (spread {line.logit_spread:.1f})",
        "s": f"{line.seconds:.0f}",
    }  # fmt: skip


def measure(model: Path, kinds: list[str], strategies: list[str], folder: Path) -> list[Line]:
    """Every strategy of every kind; each is said as it ends."""
    experiment = write_experiment(folder, model)
    lines = []
    for kind in kinds:
        single = train(folder / f"{kind}-single", experiment, kind, "single")
        for strategy in strategies:
            place = folder / f"{kind}-{strategy.replace(', ', '-').replace(' ', '')}"
            outcome = single if strategy == "single" else train(place, experiment, kind, strategy)
            lines.append(compare(outcome, single, model))
            print(" | ".join(row(lines[-1]).values()), file=sys.stderr, flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="base model: a folder or bundled:NAME (default: a tiny random one)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--only", nargs="+", default=list(STRATEGIES), choices=STRATEGIES, metavar="STRATEGY")
    parser.add_argument("--write", action="store_true", help="write results/parallel.json and parallel.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sft-parallel-") as name:
        model = _model(arguments.model, Path(name))
        lines = measure(model, arguments.kinds, arguments.only, Path(name))
    publish(
        "parallel", "Six steps on the same records, shared in every way", [row(line) for line in lines],
        write=arguments.write, runs=[asdict(line) for line in lines], tolerance=TOLERANCE, model=arguments.model or "tiny",
        notes=[
            f"{STEPS} optimiser steps of {EFFECTIVE_BATCH} records; batches of {BATCH}, accumulated; every token supervised, "
            "so that ranks and batches hold unequal numbers of supervised tokens. Two ranks, but for `single`.",
            "Losses: allowed difference from `single` " + ", ".join(f"{kind} {t:g}" for kind, t in TOLERANCE.items()) + ".",
            "Logits: the adapter loaded by plain transformers and PEFT in one process, against the adapter of `single`.",
            "lora: float32. qlora: nf4, double quantisation, bfloat16 products and adapter.",
        ],
    )  # fmt: skip
    return 0 if all(line.is_equal for line in lines) else 1


def _model(named: str | None, folder: Path) -> Path:
    if named and named.startswith(BUNDLED):
        return bundled_model(named.removeprefix(BUNDLED))
    if named:
        return Path(named).absolute()
    from tests.tiny import build_tiny_model

    return build_tiny_model(folder / "model")


if __name__ == "__main__":
    sys.exit(main())
