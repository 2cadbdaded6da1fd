"""Peak memory of one training step with a long completion and a large vocabulary, each peer in a process of its own.

python -m benchmarks.head_memory [--positions 2048] [--write]

A Llama shape of two layers with a vocabulary of 128,256: nearly all memory is logits. Peers: transformers' own loss (all
logits), TRL, sftlib with all places at once, sftlib as it is by default (256 MiB of logits at a time).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.harness import publish

PEERS = ("transformers", "TRL", "sftlib, all at once", "sftlib")
MIB = 2**20


def measure(peer: str, positions: int) -> dict[str, Any]:
    """Peak resident memory above what was there before the step."""
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.gpu import _tokenizer
    from sftlib.data.collation import FlatCollator
    from sftlib.models.tree_support import use_tree_attention
    from sftlib.train.loss import SupervisedTrainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(
        vocab_size=128_256, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8192, pad_token_id=0,
    ))  # fmt: skip
    ids = torch.randint(3, 128_000, (positions + 1,)).tolist()
    rows = [{"input_ids": ids, "labels": ids}]
    ours = peer.startswith("sftlib")
    if ours:
        assert use_tree_attention(base) is None
    model: Any = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear"))
    with tempfile.TemporaryDirectory() as folder:
        settings = trl.SFTConfig(output_dir=folder, report_to=[], use_cpu=True, bf16=False, max_length=None,
                                 gradient_checkpointing=False, dataset_kwargs={"skip_prepare_dataset": True})  # fmt: skip
        given = {
            "model": model,
            "args": settings,
            "train_dataset": Dataset.from_list(rows),
            "processing_class": _tokenizer(),
        }
        if ours:
            places = positions if peer.endswith("once") else None
            trainer: Any = SupervisedTrainer(**given, data_collator=FlatCollator(), head_places=places)
        else:
            trainer = trl.SFTTrainer(**given)
        batch = trainer.data_collator(rows)
        before = _peak()
        loss = model(**batch, use_cache=False).loss if peer == "transformers" else trainer.compute_loss(model, batch)
        loss.backward()
    return {"peer": peer, "peak_MiB_of_the_step": round((_peak() - before) / MIB), "loss": loss.item()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=2048, help="supervised tokens of the record")
    parser.add_argument("--write", action="store_true", help="write the results")
    parser.add_argument("--one", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.positions)))
        return 0
    rows = []
    for peer in PEERS:
        command = [
            sys.executable,
            "-m",
            "benchmarks.head_memory",
            "--positions",
            str(arguments.positions),
            "--one",
            peer,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    logits = arguments.positions * 128_256 * 4 / MIB
    notes = [
        f"{arguments.positions} supervised tokens, vocabulary 128,256, fp32: one copy of all logits is {logits:,.0f} MiB"
    ]
    publish("head_memory", "Memory of the output head", rows, notes=notes, write=arguments.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
