"""What `sft plan` says a training will take, against what it took: peak memory of a step, and seconds of its steps.

python -m benchmarks.planner [--write] [--steps 8]

Memory is counted by torch's dispatcher (benchmarks/allocation.py), so that it is the same on every machine. Time is
planned from one short training, the calibration, and compared on trainings that differ from it.
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

EXPERIMENT = Path("configs/experiments/demo_cpu.yaml")
_POLICY = "Read the post and say what its author thinks of the group that it speaks of. " * 18
_LONG = [f"prompt.system={_POLICY}", "train.max_length=512"]
# What is trained in turn; the first is the calibration.
TRAININGS = {
    "calibration: r=16, batch 8": [],
    "r=64": ["lora.r=64"],
    "r=4 on q and v": ["lora.r=4", "lora.target_modules=[q_proj, v_proj]"],
    "batch 16": ["train.batch_size=16"],
    "long prompt": [*_LONG, "train.shared_prefix=off"],
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
    arguments = parser.parse_args()
    rows = [*memory_rows(), *time_rows(arguments.steps)]
    worst = {what: max(abs(row["error"]) for row in rows if row["what"] == what) for what in ("memory_mb", "seconds")}
    notes = [f"worst error: memory {worst['memory_mb']:.1%}, time {worst['seconds']:.1%} (aim: 15%)"]
    publish("planner", "The plan against what happened", rows, notes=notes, write=arguments.write)
    return 0


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

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=torch.bfloat16)
    lora = LoraConfig(r=16, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
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


def time_rows(steps: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in TRAININGS.items():
            planned, took = _train(Path(folder), [*settings, f"train.max_steps={steps}"])
            if planned is not None:
                rows.append(_row(name, "seconds", planned, took))
    return rows


def _train(runs: Path, settings: list[str]) -> tuple[float | None, float]:
    """(planned, measured) seconds of one cell."""
    base = ["sweep.grid={lora.r: [16]}", "predict.baseline=false"]
    named = [word for setting in [*base, *settings] for word in ("--set", setting)]
    plan = json.loads(
        _output("jobs.cli", "plan", str(EXPERIMENT), "--cluster", "local", "--runs-dir", str(runs), "--json", *named)
    )
    cell = next(cell for cell in plan["cells"] if not cell["is_baseline"])
    _output("sftlib", "train", str(EXPERIMENT), "--runs-dir", str(runs), *named)
    summary = json.loads((Path(plan["run_dir"]) / "cells" / cell["id"] / "summary.json").read_text(encoding="utf-8"))
    return cell["estimate"]["seconds"], summary["performance"]["seconds"]


def _output(module: str, *words: str) -> str:
    return subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def _row(name: str, what: str, planned: float, measured: float) -> dict[str, Any]:
    return {"training": name, "what": what, "planned": planned, "measured": measured, "error": planned / measured - 1}


if __name__ == "__main__":
    sys.exit(main())
