"""Training of SmolLM2-135M on hate-speech records on a CPU: records/s of sftlib beside TRL and the padded recipe.

python -m benchmarks.fast_path [--prompt long|short|both] [--records 32] [--write]

Every peer trains the same records in each optimiser step, with the same LoRA (r=16, all-linear), precision (fp32) and one
thread, so that its losses must be the same too. One batch forwards and backwards warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.harness import publish
from sftlib.data.collation import FlatCollator
from sftlib.data.rendering import IGNORED
from sftlib.models.tree_support import use_tree_attention
from sftlib.train.loss import SupervisedTrainer

STRATEGIES = Path(__file__).parents[1] / "configs/prompts/hate_speech.json"
ANSWER = '{{"classification": "{}"}}'


@dataclass(frozen=True)
class Peer:
    """One way to train the records of a step."""

    name: str
    build: Callable[..., trl.SFTTrainer]
    batch_size: int
    packing: bool = False
    whole: int | None = None  # pad to this length and take the loss everywhere
    max_length: int | None = None
    share: bool = True


def ours(
    model: Any, arguments: trl.SFTConfig, peer: Peer, rows: list[dict[str, Any]], **further: Any
) -> trl.SFTTrainer:
    base = model.get_base_model()
    reason = use_tree_attention(base)
    assert reason is None, reason
    return SupervisedTrainer(model=model, args=arguments, data_collator=FlatCollator(share=peer.share),
                             train_dataset=Dataset.from_list(rows), **further)  # fmt: skip


def plain(
    model: Any, arguments: trl.SFTConfig, peer: Peer, rows: list[dict[str, Any]], **further: Any
) -> trl.SFTTrainer:
    if peer.whole:
        rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows]
    return trl.SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), **further)


def peers(prompt: str, records: int) -> list[Peer]:
    row = 1024 if prompt == "long" else 512
    trl_peers = [
        Peer("TRL, packed (bfd)", plain, 1, packing=True, max_length=row),
        Peer("TRL, padded to the longest", plain, 4 if prompt == "long" else 8),
    ]
    if prompt == "long":
        return [Peer("sftlib", ours, records), *trl_peers]
    recipe = Peer("padded to 512, loss everywhere", plain, 4, whole=512)
    return [Peer("sftlib", ours, records), *trl_peers, recipe]


class Clock(TrainerCallback):
    """When each optimiser step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []  # of the wall, of this process on the CPU
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.on_step_end()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def measure(peer: Peer, model_folder: Path, rows: list[dict[str, Any]], steps: int, folder: str) -> dict[str, Any]:
    """Train `steps` optimiser steps on all the rows each."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=16, target_modules="all-linear", lora_dropout=0.0))
    batches = _batches(peer, rows)
    arguments = trl.SFTConfig(
        output_dir=folder, per_device_train_batch_size=peer.batch_size, gradient_accumulation_steps=batches,
        num_train_epochs=steps, learning_rate=1e-3, lr_scheduler_type="constant", logging_steps=1, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True,
        packing=peer.packing, max_length=peer.max_length, pad_to_multiple_of=peer.whole,
        dataset_kwargs=None if peer.packing else {"skip_prepare_dataset": True}, router_aux_loss_coef=0.0,
    )  # fmt: skip
    clock = Clock()
    trainer = peer.build(model, arguments, peer, rows, processing_class=tokenizer, callbacks=[clock])
    _warm_up(trainer)
    trainer.train()
    seconds, cpu_seconds = (end - start for start, end in zip(clock.ends[0], clock.ends[-1], strict=True))
    records = len(rows) * steps
    return {
        "peer": peer.name,
        "records_per_s": records / seconds,
        "records_per_CPU_s": records / cpu_seconds,
        "tokens_per_CPU_s": sum(len(row["input_ids"]) for row in rows) * steps / cpu_seconds,
        "loss_of_step_1": clock.losses[0],
        "loss_of_last_step": clock.losses[-1],
    }


def _warm_up(trainer: trl.SFTTrainer) -> None:
    """One batch forwards and backwards: what is made once at first use is made."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.compute_loss(trainer.model, batch).backward()
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()


def _batches(peer: Peer, rows: list[dict[str, Any]]) -> int:
    """Batches of one optimiser step over all rows."""
    items = len(rows)
    if peer.packing:
        from trl.data_utils import pack_dataset

        items = len(pack_dataset(Dataset.from_list(rows), peer.max_length, "bfd"))
    return -(-items // peer.batch_size)


def make_rows(tokenizer: Any, prompt: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Records of the bundled posts behind the long strategy prompt (with examples), or the short one."""
    posts = [json.loads(line) for line in files("sftlib.data.posts").joinpath("train.jsonl").open(encoding="utf-8")]
    random.Random(seed).shuffle(posts)
    strategy = json.loads(STRATEGIES.read_text(encoding="utf-8"))["strategies"]
    chosen = strategy["combined_optimized" if prompt == "long" else "simple"]
    system = chosen["system_prompt"]
    if prompt == "long":
        shots = posts[:5]
        posts = posts[5:]
        system += "\n\nExamples:" + "".join(f"\n\n{_ask(chosen, post)}\n{_answer(post)}" for post in shots)
    return [_row(tokenizer, system, _ask(chosen, post), _answer(post)) for post in posts[:count]]


def _ask(strategy: dict[str, Any], post: dict[str, Any]) -> str:
    return strategy["user_template"].format(text=post["text"], target_group=post["target_group_norm"])


def _answer(post: dict[str, Any]) -> str:
    return ANSWER.format(post["label_binary"])


def _row(tokenizer: Any, system: str, asked: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    begin = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(begin, add_special_tokens=False)["input_ids"]
    completion = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", choices=["long", "short", "both"], default="both")
    parser.add_argument("--records", type=int, default=32, help="records of an optimiser step")
    parser.add_argument("--steps", type=int, help="optimiser steps (default: long 1, short 2)")
    parser.add_argument("--model", type=Path, help="model folder (default: the bundled SmolLM2-135M-Instruct)")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    if arguments.model is None:
        from sftlib.models.staging import stage_bundled

        arguments.model = stage_bundled("smollm2-135m-instruct")
    torch.set_num_threads(1)
    for prompt in ("long", "short") if arguments.prompt == "both" else (arguments.prompt,):
        compare(prompt, arguments)
    return 0


def compare(prompt: str, arguments: argparse.Namespace) -> None:
    """All peers on one prompt, one after the other."""
    rows = make_rows(AutoTokenizer.from_pretrained(arguments.model), prompt, arguments.records)
    steps = arguments.steps or {"long": 1, "short": 2}[prompt]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for peer in peers(prompt, arguments.records):
            found.append(measure(peer, arguments.model, rows, steps, folder))
            print(found[-1], file=sys.stderr, flush=True)
    best = max(row["records_per_CPU_s"] for row in found if row["peer"].startswith("TRL"))
    for row in found:
        row["against_best_TRL"] = row["records_per_CPU_s"] / best
    lengths = [len(row["input_ids"]) for row in rows]
    computed = FlatCollator()(rows)["input_ids"].shape[1]
    notes = [
        f"{len(rows)} records an optimiser step of {sum(lengths) / len(rows):.0f} tokens on average; sftlib computes "
        f"{computed / len(rows):.0f} of them",
        f"{steps} optimiser steps after a batch of warm-up; LoRA r=16 all-linear, fp32, one thread, AdamW",
        "compared by CPU seconds of the process, which neighbours on the machine stretch less than those of the wall",
        "same records in every step: the losses of peers that take the loss on the answer must agree",
    ]
    publish(f"fast_path_{prompt}", f"Training on a CPU, {prompt} prompt", found, notes=notes, write=arguments.write,
            module="fast_path")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
