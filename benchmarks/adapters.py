"""LoRA layers as PEFT computes them and as we do (sftlib/models/low_rank.py): peak memory and time of one training step.

python -m benchmarks.adapters [--tokens 512] [--repeats 5] [--write]

Random weights in the shapes of benchmarks/planner.py, r=16 on all linear layers. Memory is counted by torch's dispatcher
(benchmarks/allocation.py), to the byte and the same on every machine, under autocast as on a GPU; weights and optimiser
state are taken off, what is left are activations, gradients and what passes. Time is this machine's, PEFT and ours in turn,
the least of the repeats. Exit code 1 where ours needs more memory.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.allocation import step_peak_bytes
from benchmarks.harness import publish, race
from benchmarks.planner import SHAPES
from sftlib.models.low_rank import speed_up_adapters
from sftlib.models.products import extend_products, speed_up_products

POSITIONS = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512, help="of the row that is trained on")
    parser.add_argument("--repeats", type=int, default=5, help="steps of which the fastest counts")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        measure(name, values, dropout, arguments.tokens, arguments.repeats)
        for name, values in SHAPES.items()
        for dropout in (0.0, 0.05)
    ]
    notes = [
        f"one row of {arguments.tokens} tokens, {POSITIONS} of them supervised; memory: bfloat16 base, fp32 adapter, autocast",
        "seconds: of a step, float32 and bfloat16 base, no autocast, one thread, both with the same products for the CPU",
    ]
    publish("adapters", "Adapters, PEFT's way and ours", rows, notes=notes, write=arguments.write)
    return 0 if all(row["MB"] <= row["MB_PEFT"] for row in rows) else 1


def measure(name: str, values: dict[str, Any], dropout: float, tokens: int, repeats: int) -> dict[str, Any]:
    models = {is_ours: build(values, torch.bfloat16, dropout, is_ours) for is_ours in (False, True)}
    peft, ours = (round(_passing_bytes(models[is_ours], tokens) / 1e6, 1) for is_ours in (False, True))
    row: dict[str, Any] = {"shape": name, "dropout": dropout, "MB_PEFT": peft, "MB": ours, "share": ours / peft}
    for dtype in (torch.float32, torch.bfloat16):
        models = {is_ours: build(values, dtype, dropout, is_ours) for is_ours in (False, True)}
        peers = {"PEFT": partial(_step, models[False], tokens), "ours": partial(_step, models[True], tokens)}
        seconds = race(peers, rounds=repeats)
        kind = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
        row |= {f"s_{kind}_PEFT": min(seconds["PEFT"]), f"s_{kind}": min(seconds["ours"])}
    print(row, file=sys.stderr, flush=True)
    return row


def build(values: dict[str, Any], dtype: torch.dtype, dropout: float, is_ours: bool) -> Any:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=dtype)
    speed_up_products(base)
    lora = LoraConfig(r=16, target_modules="all-linear", lora_dropout=dropout, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora).train()
    extend_products(model)
    if is_ours:
        assert speed_up_adapters(model)
    return model


def _passing_bytes(model: Any, tokens: int) -> int:
    """Of the peak, what is neither weights nor the optimiser's state."""
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    present = sum(tensor.nbytes for tensor in {id(t): t for t in (*model.parameters(), *model.buffers())}.values())
    peak = step_peak_bytes(model, tokens=tokens, positions=POSITIONS, has_autocast=True)
    model.zero_grad()
    return peak - present - 2 * trained


def _step(model: Any, tokens: int) -> None:
    ids = torch.arange(tokens)[None] % model.config.vocab_size
    kept = torch.arange(tokens - POSITIONS, tokens)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
    logits.float().logsumexp(-1).mean().backward()
    model.zero_grad()


if __name__ == "__main__":
    sys.exit(main())
