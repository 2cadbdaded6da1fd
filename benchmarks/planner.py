"""What `sft plan` says a training will take, against what it took: peak memory of a step, and seconds of its steps.

python -m benchmarks.planner [--write] [--steps 8] [--rounds 3] [--dtype float32]

Memory is counted by torch's dispatcher (benchmarks/allocation.py), so that it is the same on every machine. Time is
planned as a user would see it beside short trainings of one kind, the calibration, and compared on trainings that
differ from it. Each trains in a process of its own, in rounds; a round's plans know that round's calibrations and are held
against its trainings, so that a machine that changes its pace does so for both. A row shows the round whose error is the
median one. Exit code 1 beyond 15%.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from sftlib.artifacts.host import has_cpu_bfloat16
from sftlib.models.staging import stage_bundled

EXPERIMENT = Path("configs/experiments/demo_cpu.yaml")
AIM = 0.15
_POLICY = "Read the post and say what its author thinks of the group that it speaks of. " * 18
_LONG = [f"prompt.system={_POLICY}", "train.max_length=512"]
# By length grouped batches are as long as chance has it; a few steps shall be like all of them.
_ALL = ["sweep.grid={lora.r: [16]}", "predict.baseline=false", "train.group_by_length=false", "data.validation=null"]
# What is trained and planned; the calibration has none of these settings.
TRAININGS = {
    "r=64": ["lora.r=64"],
    "r=4 on q and v": ["lora.r=4", "lora.target_modules=[q_proj, v_proj]"],
    "batch 16": ["train.batch_size=16"],
    "4 batches of 4": ["train.batch_size=4", "train.gradient_accumulation=4"],
    "chat template": ["prompt.template=chatml"],
    "long prompt, batch 2": [*_LONG, "train.shared_prefix=off", "train.batch_size=2"],
    "long prompt, shared": [*_LONG, "train.shared_prefix=on"],
}
SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                     "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True},
    "Qwen3, 8 layers": {"model_type": "qwen3", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "head_dim": 128,
                        "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 32000},
    "Gemma-3, 8 layers": {"model_type": "gemma3_text", "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
                          "head_dim": 128, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 32000},
    "gpt-oss, 4 layers": {"model_type": "gpt_oss", "hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 64,
                          "num_attention_heads": 8, "num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 4,
                          "vocab_size": 32000},
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the results")
    parser.add_argument("--steps", type=int, default=8, help="optimiser steps of each training")
    parser.add_argument("--rounds", type=int, default=3, help="how often each training is measured")
    parser.add_argument(
        "--dtype", choices=["bfloat16", "float32"], help="of the trainings; each that the CPU has, if not given"
    )
    parser.add_argument("--only", choices=["memory", "time"], help="one of the two")
    arguments = parser.parse_args()
    dtypes = [arguments.dtype] if arguments.dtype else [*(["bfloat16"] if has_cpu_bfloat16() else []), "float32"]
    rows = memory_rows() if arguments.only != "time" else []
    if arguments.only != "memory":
        stage_bundled("smollm2-135m-instruct")
        for dtype in dtypes:
            rows += time_rows(arguments.steps, arguments.rounds, dtype)
    worst = {
        what: max(abs(row["error"]) for row in rows if row["what"] == what) for what in {row["what"] for row in rows}
    }
    said = ", ".join(f"{what.partition('_')[0]} {error:.1%}" for what, error in sorted(worst.items()))
    notes = [
        f"worst error: {said} (aim: {AIM:.0%})",
        f"time: SmolLM2-135M, LoRA on a CPU thread, {arguments.steps} steps each, the median one of {arguments.rounds} rounds (least and "
        f"most: the others' errors); each round planned from its own {(len(TRAININGS) + 1) // 2} trainings of r=16 on all linear modules, batches "
        "of 8 short records, in turn with those measured",
    ]
    publish("planner", "The plan against what happened", rows, notes=notes, write=arguments.write)
    return 0 if max(worst.values()) <= AIM else 1


def memory_rows(tokens: int = 512, positions: int = 16) -> list[dict[str, Any]]:
    rows = []
    for name, values in SHAPES.items():
        for checkpointing in (False, True):
            planned, measured = _memory(values, tokens, positions, checkpointing)
            how = "bf16 LoRA" + (", checkpointing" if checkpointing else "")
            rows.append(_row(f"{name}, {how}, {tokens} tokens", "memory_mb", planned / 1e6, measured / 1e6))
            gc.collect()
    return rows


def _memory(values: dict[str, Any], tokens: int, positions: int, checkpointing: bool) -> tuple[float, float]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from benchmarks.allocation import step_peak_bytes
    from sftlib.config.estimate.memory import Load, numbers_of, training_memory
    from sftlib.config.estimate.shape import shape_of
    from sftlib.config.tree import SFTConfig
    from sftlib.models.low_rank import speed_up_adapters

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=torch.bfloat16)
    lora = LoraConfig(r=16, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    speed_up_adapters(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    config = SFTConfig.model_validate(
        {"name": "x", "model": {"dtype": "bfloat16"}, "lora": {"r": 16, "target_modules": "all-linear", "dropout": 0.0},
         "train": {"gradient_checkpointing": checkpointing, "precision": "bf16"}}
    )  # fmt: skip
    shape = shape_of(values)
    assert shape is not None
    numbers = numbers_of(config, on_gpu=False)
    planned = training_memory(config, shape, Load(tokens, positions, tokens), numbers, on_gpu=False).total * 1e9
    return planned, step_peak_bytes(model, tokens=tokens, positions=positions, has_autocast=True)


def time_rows(steps: int, rounds: int, dtype: str) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAININGS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for row in _round(Path(folder) / str(number), steps, dtype):
                print(row, file=sys.stderr, flush=True)
                found[row["training"]].append(row)
    return [_median(rows) | {"training": f"{name}, {dtype}"} for name, rows in found.items()]


def _round(folder: Path, steps: int, dtype: str) -> list[dict[str, Any]]:
    """Every training once, with a calibration before each second one."""
    model, known = f"model.dtype={dtype}", folder / "known"
    took = {}
    for place, (name, settings) in enumerate(TRAININGS.items()):
        if place % 2 == 0:
            _train(known, [model, f"train.seed={place}"], steps)
        took[name] = _train(folder / name, [model, *settings], steps)
    return [_row(name, "seconds", _plan(known, [model, *TRAININGS[name]], steps), took[name]) for name in TRAININGS]


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: row["error"])
    errors = {"least": rows[0]["error"], "most": rows[-1]["error"]}
    return rows[(len(rows) - 1) // 2] | errors


def _plan(runs: Path, settings: list[str], steps: int) -> float:
    """Seconds that `sft plan` says, beside the trainings in `runs`."""
    command = ["-m", "jobs.cli", "plan", str(EXPERIMENT), "--cluster", "local", "--runs-dir", str(runs), "--json"]
    done = subprocess.run(
        [sys.executable, *command, *_named(settings, steps)], check=True, capture_output=True, text=True
    )
    (cell,) = json.loads(done.stdout)["cells"]
    return float(cell["estimate"]["seconds"])


def _train(runs: Path, settings: list[str], steps: int) -> float:
    """Seconds in the optimiser steps of this training, as `sft train` tells them."""
    command = ["-m", "sftlib", "train", str(EXPERIMENT), "--runs-dir", str(runs), *_named(settings, steps)]
    subprocess.run([sys.executable, *command], check=True)
    (summary,) = (runs / "latest").glob("cells/*/summary.json")
    seconds = float(json.loads(summary.read_text(encoding="utf-8"))["performance"]["seconds"])
    print(f"{runs.name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return seconds


def _named(settings: list[str], steps: int) -> list[str]:
    return [word for item in [*_ALL, *settings, f"train.max_steps={steps}"] for word in ("--set", item)]


def _row(name: str, what: str, planned: float, measured: float) -> dict[str, Any]:
    return {"training": name, "what": what, "planned": planned, "measured": measured, "error": planned / measured - 1}


if __name__ == "__main__":
    sys.exit(main())
