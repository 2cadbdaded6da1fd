"""Training of SmolLM2-135M on hate-speech records on a CPU: records/s of sftlib beside TRL and the padded recipe.

python -m benchmarks.fast_path [--prompt long|short|both] [--records 8] [--steps 3] [--write]

Every peer lives in a process of its own and takes its turn: one optimiser step each, round after round. All train the same
records in each step, with the same LoRA (r=16, all-linear), precision (fp32) and one thread, so that their losses must be
the same too. sftlib is what `sft train` runs, from its configuration to its callbacks. One batch forwards and backwards
warms each up and does not count. Exit code 1 where sftlib is not as much faster as it claims, or losses differ.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.harness import publish

STRATEGIES = Path(__file__).parents[1] / "configs/prompts/hate_speech.json"
ANSWER = '{{"classification": "{}"}}'
RECIPE = "padded to 512, loss everywhere"
AT_LEAST = {"long": {"best TRL": 4.0}, "short": {"best TRL": 1.3, "recipe": 5.0}}
SAME_LOSS = 1e-3  # of its value


@dataclass(frozen=True)
class Peer:
    """One way to train the records of a step."""

    name: str
    batch_size: int
    is_ours: bool = False
    packing: bool = False
    whole: int | None = None  # pad to this length and take the loss everywhere
    max_length: int | None = None


def peers(prompt: str, records: int) -> list[Peer]:
    row = 1024 if prompt == "long" else 512
    found = [
        Peer("sftlib", records, is_ours=True),
        Peer("TRL, packed (bfd)", 1, packing=True, max_length=row),
        Peer("TRL, padded to the longest", 4 if prompt == "long" else 8),
    ]
    return found if prompt == "long" else [*found, Peer(RECIPE, 4, whole=512)]


class Turns(TrainerCallback):
    """Each optimiser step waits to be called and says what it took: seconds of the wall, of this process on the CPU."""

    def __init__(self, parent: Connection) -> None:
        self.parent = parent
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.parent.send("ready")
        self._wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.parent.send((time.perf_counter() - self.began[0], time.process_time() - self.began[1]))
        if state.global_step < state.max_steps:
            self._wait()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def _wait(self) -> None:
        self.parent.recv()
        self.began = time.perf_counter(), time.process_time()


def serve(peer: Peer, settings: dict[str, Any], folder: str, parent: Connection) -> None:
    """The process of one peer: make its trainer, warm it up, train by turns, tell the losses."""
    torch.set_num_threads(1)
    turns = Turns(parent)
    trainer, facts = (ours if peer.is_ours else theirs)(peer, settings, folder)
    trainer.add_callback(turns)
    _warm_up(trainer)
    trainer.train()
    parent.send((turns.losses, facts))


def ours(peer: Peer, settings: dict[str, Any], folder: str) -> tuple[Any, dict[str, Any]]:
    """As `sft train` makes it."""
    from transformers import set_seed

    trainer, rows = _opened(settings, folder)
    model = trainer._load_model()
    set_seed(trainer.config.train.seed)
    made = trainer._create_trl_trainer(model, rows, None)
    facts = {"tokens": rows.tokens, "computed": trainer.batches.computed, "lengths": rows.lengths.tolist()}
    return made, facts


def theirs(peer: Peer, settings: dict[str, Any], folder: str) -> tuple[Any, dict[str, Any]]:
    """TRL's own trainer on the same rows, with the best of its settings for them."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, set_seed

    from sftlib.models.loading import model_source
    from sftlib.train.adapter import lora_config

    maker, held = _opened(settings, folder)
    rows = [held[i] for i in range(len(held))]
    if peer.whole:
        rows = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows]
    config = maker.config.train
    arguments = trl.SFTConfig(
        output_dir=folder, per_device_train_batch_size=peer.batch_size, gradient_accumulation_steps=_batches(peer, rows),
        num_train_epochs=config.epochs, learning_rate=config.learning_rate, lr_scheduler_type=config.scheduler, warmup_steps=0,
        weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm, seed=config.seed, logging_steps=1, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True,
        packing=peer.packing, max_length=peer.max_length, pad_to_multiple_of=peer.whole,
        dataset_kwargs=None if peer.packing else {"skip_prepare_dataset": True}, router_aux_loss_coef=0.0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(model_source(maker.config), dtype=torch.float32)
    set_seed(config.seed)
    made = trl.SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows),
                          processing_class=maker.tokenizer, peft_config=lora_config(maker.config))  # fmt: skip
    return made, {}


def _opened(settings: dict[str, Any], folder: str) -> tuple[Any, Any]:
    """sftlib's trainer with its template and rows, which all peers train."""
    import sftlib

    trainer = sftlib.SFTTrainer(sftlib.SFTConfig.model_validate(settings), output_dir=Path(folder))
    trainer._load_template()
    return trainer, trainer._prepare_datasets()[0]


def _warm_up(trainer: Any) -> None:
    """One batch forwards and backwards: what is made once at first use is made."""
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.compute_loss(trainer.model, batch).backward()
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()


def _batches(peer: Peer, rows: list[dict[str, Any]]) -> int:
    """Batches of one optimiser step over all rows."""
    items = len(rows)
    if peer.packing:
        from datasets import Dataset
        from trl.data_utils import pack_dataset

        items = len(pack_dataset(Dataset.from_list(rows), peer.max_length, "bfd"))
    return -(-items // peer.batch_size)


def write_records(path: Path, prompt: str, count: int) -> dict[str, Any]:
    """Records of the bundled posts, and their `prompt` section: the long strategy prompt with examples and two posts of one
    group and label as one text (about 400 tokens shared and 60 own), or the short prompt and one post."""
    posts = [json.loads(line) for line in files("sftlib.data.posts").joinpath("train.jsonl").open(encoding="utf-8")]
    random.Random(0).shuffle(posts)
    strategies = json.loads(STRATEGIES.read_text(encoding="utf-8"))["strategies"]
    chosen = strategies["combined_optimized" if prompt == "long" else "simple"]
    system, user = chosen["system_prompt"], chosen["user_template"].replace("{target_group}", "{target_group_norm}")
    if prompt == "long":
        shots, posts = posts[:5], _pairs(posts[5:])
        system += "\n\nExamples:" + "".join(
            f"\n\n{user.format_map(shot)}\n{ANSWER.format(shot['label_binary'])}" for shot in shots
        )
    path.write_text("".join(json.dumps(post) + "\n" for post in posts[:count]), encoding="utf-8")
    return {"system": system, "user": user}


def _pairs(posts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two posts of one group and label as one text."""
    waiting: dict[tuple[str, str], dict[str, Any]] = {}
    pairs = []
    for post in posts:
        kind = post["target_group_norm"], post["label_binary"]
        if first := waiting.pop(kind, None):
            pairs.append({**post, "text": f"{first['text']} {post['text']}"})
        else:
            waiting[kind] = post
    return pairs


def settings_of(model: Path, records: Path, prompt: dict[str, Any], count: int, steps: int) -> dict[str, Any]:
    """The experiment: all records in each optimiser step, in as few batches as sftlib likes."""
    return {
        "name": "fast-path",
        "data": {"train": str(records), "label_column": "label_binary", "id_column": "original_id"},
        "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate", "target": "json"},
        "prompt": prompt,
        "model": {"name_or_path": str(model), "dtype": "float32"},
        "lora": {"r": 16, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"},
        "train": {"epochs": steps, "batch_size": count, "gradient_accumulation": 1, "learning_rate": 1e-3,
                  "scheduler": "constant", "warmup_ratio": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0, "logging_steps": 1,
                  "loggers": [], "max_length": 1024, "seed": 0},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", choices=["long", "short", "both"], default="both")
    parser.add_argument("--records", type=int, default=8, help="records of an optimiser step")
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps of each peer, in turn")
    parser.add_argument("--model", type=Path, help="model folder (default: the bundled SmolLM2-135M-Instruct)")
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    if arguments.model is None:
        from sftlib.models.staging import stage_bundled

        arguments.model = stage_bundled("smollm2-135m-instruct")
    prompts = ("long", "short") if arguments.prompt == "both" else (arguments.prompt,)
    return max([compare(prompt, arguments) for prompt in prompts])


def compare(prompt: str, arguments: argparse.Namespace) -> int:
    """All peers on one prompt, taking turns; 1 where a claim does not hold."""
    chosen = peers(prompt, arguments.records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        section = write_records(folder / "records.jsonl", prompt, arguments.records)
        settings = settings_of(arguments.model, folder / "records.jsonl", section, arguments.records, arguments.steps)
        measured, facts = take_turns(chosen, settings, folder, arguments.steps)
    found = [_row(peer, *measured[peer.name], facts) for peer in chosen]
    for key, gain in (("records_per_s", "against_best_TRL"), ("records_per_CPU_s", "by_CPU_time")):
        best = max(row[key] for row in found if row["peer"].startswith("TRL"))
        for row in found:
            row[gain] = row[key] / best
    verdicts, ok = _verdicts(prompt, found)
    lengths = facts["lengths"]
    notes = [
        f"{len(lengths)} records an optimiser step of {sum(lengths) / len(lengths):.0f} tokens on average; sftlib computes "
        f"{facts['computed']:.0f} of them; {_shared(facts):.0f} tokens are shared",
        f"{arguments.steps} optimiser steps of each peer, in turn, after a batch of warm-up; LoRA r=16 all-linear, fp32, one "
        "thread, AdamW",
        "sftlib is what `sft train` runs: its loading (with its matrix products for CPUs), callbacks and metrics; TRL's model is "
        "loaded by transformers",
        *verdicts,
    ]
    publish(f"fast_path_{prompt}", f"Training on a CPU, {prompt} prompt", found, notes=notes, write=arguments.write,
            module="fast_path")  # fmt: skip
    return 0 if ok else 1


def take_turns(
    chosen: list[Peer], settings: dict[str, Any], folder: Path, steps: int
) -> tuple[dict[str, tuple[list[tuple[float, float]], list[float]]], dict[str, Any]]:
    """For each peer its (wall, CPU) seconds of each step and its losses; and facts of the batches."""
    spawn = get_context("spawn")
    lines, processes = {}, []
    for number, peer in enumerate(chosen):
        lines[peer.name], end = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(peer, settings, str(folder / str(number)), end)))
        processes[-1].start()
        end.close()  # a peer that dies is an EOFError here, not a wait for ever
        lines[peer.name].recv()
    seconds: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in chosen}
    for _ in range(steps):
        for name, line in lines.items():
            line.send("go")
            seconds[name].append(line.recv())
            print(f"{name}: {seconds[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    told = {name: line.recv() for name, line in lines.items()}
    for process in processes:
        process.join()
    facts = next(facts for _, facts in told.values() if facts)
    return {name: (seconds[name], losses) for name, (losses, _) in told.items()}, facts


def _row(peer: Peer, seconds: list[tuple[float, float]], losses: list[float], facts: dict[str, Any]) -> dict[str, Any]:
    wall, cpu = (sum(taken) for taken in zip(*seconds, strict=True))
    records = len(facts["lengths"]) * len(seconds)
    return {
        "peer": peer.name,
        "records_per_s": records / wall,
        "records_per_CPU_s": records / cpu,
        "tokens_per_CPU_s": facts["tokens"] * len(seconds) / cpu,
        "fastest_step_s": min(taken for taken, _ in seconds),
        "slowest_step_s": max(taken for taken, _ in seconds),
        "loss_of_step_1": losses[0],
        "loss_of_last_step": losses[-1],
    }


def _shared(facts: dict[str, Any]) -> float:
    """Tokens that all records begin with: what is saved, over the copies that were not made."""
    lengths = facts["lengths"]
    return (sum(lengths) / len(lengths) - facts["computed"]) * len(lengths) / max(1, len(lengths) - 1)


def _verdicts(prompt: str, found: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """What is claimed, and whether it holds by wall and by CPU time."""
    ours, recipe = found[0], next((row for row in found if row["peer"] == RECIPE), None)
    said = []
    for against, wanted in AT_LEAST[prompt].items():
        base = recipe if recipe and against == "recipe" else None
        gains = [ours[key] / (base[key] if base else 1.0) for key in ("against_best_TRL", "by_CPU_time")]
        said.append((min(gains) >= wanted, f"against {against}: {gains[0]:.1f}x, {gains[1]:.1f}x by CPU time; at least {wanted:g}x"))  # fmt: skip
    alike = [row for row in found if row["peer"] != RECIPE]
    apart = max(abs(row[key] / ours[key] - 1) for row in alike for key in ("loss_of_step_1", "loss_of_last_step"))
    said.append(
        (apart <= SAME_LOSS, f"losses of the answer differ by {apart:.1e} of their value, at most {SAME_LOSS:g}")
    )
    return [f"{text}: {'holds' if ok else 'FAILS'}" for ok, text in said], all(ok for ok, _ in said)


if __name__ == "__main__":
    sys.exit(main())
