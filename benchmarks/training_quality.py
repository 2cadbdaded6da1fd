"""Validation loss and F1 after equal epochs of fast and plain training, with three seeds: does the fast path cost quality?

python -m benchmarks.training_quality [--epochs 2] [--write]     (make training-quality)

A small Llama shape judges made-up posts of other seeds, then gets a LoRA on the bundled ones. Plain: TRL, padded batches. Fast: sftlib
as it is by default, behind shared beginnings. Same records, order, batches, learning rates. Without dropout the two must
end at the same loss; with dropout they draw different noise and must agree as seeds do. Exit code 1 when they do not.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from scipy.stats import t as student
from sklearn.metrics import f1_score
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from benchmarks.harness import publish
from sftlib.config.tree import SFTConfig
from sftlib.data.posts.compose import Dealer
from sftlib.data.posts.generate import make_slots, write_post
from sftlib.data.processing import SFTDatasetProcessor
from sftlib.data.rendering import IGNORED
from sftlib.data.rows import Rows
from sftlib.models.low_rank import speed_up_adapters
from sftlib.train.adapter import lora_config
from sftlib.train.arguments import training_arguments
from sftlib.train.batches import dataset_of, plan_batches
from sftlib.train.loss import SupervisedTrainer
from tests.tiny import build_tokenizer

SYSTEM = "Does the author attack, demean or exclude people because of their group? Answer hate or normal."
DROPOUT = 0.1
SAME_LOSS = 1e-4  # without dropout
LEARNT = 0.1  # F1 above that of always answering "hate": below it nothing was learnt that could be lost


def settings(folder: Path, seed: int, epochs: float, **sections: Any) -> SFTConfig:
    posts = files("sftlib.data.posts")
    given = {
        "data": {"train": str(posts / "train.jsonl"), "validation": str(posts / "validation.jsonl"),
                 "test": str(posts / "test.jsonl"), "label_column": "label_binary", "id_column": "original_id"},
        "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"},
        "prompt": {"system": SYSTEM, "user": "{text}"},
        "model": {"name_or_path": str(folder), "dtype": "float32"},
        "lora": {"r": 16, "alpha": 32, "dropout": DROPOUT, "target_modules": "all-linear"},
        "train": {"epochs": epochs, "batch_size": 8, "gradient_accumulation": 2, "learning_rate": 2e-3, "seed": seed,
                  "logging_steps": 1000, "loggers": [], "max_length": 512},
    }  # fmt: skip
    for name, section in sections.items():
        given[name] = {**given[name], **section}
    return SFTConfig.model_validate(given)


def make_base(folder: Path, seeds: int) -> None:
    """A small model that has judged made-up posts of other seeds: enough to learn from, not enough to have learnt it all."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    judged = folder / "judged.jsonl"
    texts = write_posts(judged, seeds)
    tokenizer = build_tokenizer(texts=[*texts, *[SYSTEM] * 50], vocab_size=2000)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
    )).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    judging = settings(folder, 0, 1.0, lora={"enabled": False}, data={"train": str(judged), "workers": 1})
    model, _ = train(judging, folder, fast=True)
    model.save_pretrained(folder)


def write_posts(path: Path, seeds: int) -> list[str]:
    """Posts as the bundled ones are made, by other seeds; returns their texts."""
    posts = []
    for seed in range(100, 100 + seeds):
        dealer, taken = Dealer(random.Random(seed)), set[str]()
        posts += [write_post(dealer, slot._replace(split="train"), taken) for slot in make_slots()]
    random.Random(0).shuffle(posts)
    posts = [{**post, "original_id": str(number)} for number, post in enumerate(posts)]
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return [post["text"] for post in posts]


def train(config: SFTConfig, folder: Path, *, fast: bool) -> tuple[Any, float]:
    """The trained model, and the CPU seconds of its training."""
    set_seed(config.train.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = rows_of(config, tokenizer, "train")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    plan = plan_batches(config, rows, model) if fast else None
    with tempfile.TemporaryDirectory() as out:
        used = plan.applied(config) if plan else config
        arguments = training_arguments(used, Path(out), len(rows), has_validation=False)
        arguments.save_strategy = "no"
        given = {"model": model, "args": arguments, "processing_class": tokenizer, "peft_config": lora_config(config)}
        if plan:
            collator = plan.collator(tokenizer.pad_token_id, 1)
            trainer: Any = SupervisedTrainer(**given, train_dataset=dataset_of(rows), data_collator=collator)
            speed_up_adapters(trainer.model)
        else:
            trainer = trl.SFTTrainer(**given, train_dataset=Dataset.from_list([rows[i] for i in range(len(rows))]))
        started = time.process_time()
        trainer.train()
        return trainer.model, time.process_time() - started


def rows_of(config: SFTConfig, tokenizer: Any, split: str) -> Rows:
    return SFTDatasetProcessor(config, tokenizer).rows(split)


@torch.no_grad()
def judge(model: Any, config: SFTConfig, folder: Path) -> tuple[float, float, float]:
    """Mean loss of the supervised tokens, F1 of the likelier label, and F1 of always answering "hate"; record by record
    without any batching."""
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    first = {label: tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in ("hate", "normal")}
    total, count, gold, answers = 0.0, 0, [], []
    rows = rows_of(config, tokenizer, "validation")
    for index in range(len(rows)):
        row = rows[index]
        labels = torch.tensor(row["labels"])
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        total += float(
            torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED, reduction="sum")
        )
        count += int((labels[1:] != IGNORED).sum())
        begin = int((labels != IGNORED).nonzero()[0])
        gold.append(row["input_ids"][begin] == first["hate"])
        answers.append(bool(logits[begin - 1, first["hate"]] > logits[begin - 1, first["normal"]]))
    return total / count, float(f1_score(gold, answers)), float(f1_score(gold, [True] * len(gold)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--base", type=int, default=3, help="seeds of 2,000 posts that the base judged before any LoRA")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_base(folder, arguments.base)
        untouched: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        loss, f1, trivial = judge(untouched, settings(folder, 0, 1.0), folder)
        found.append({"training": "none", "validation_loss": loss, "validation_F1": f1})
        for dropout, seed in ((0.0, 0), *((DROPOUT, seed) for seed in range(arguments.seeds))):
            config = settings(folder, seed, arguments.epochs, lora={"dropout": dropout})
            for name, fast in (("plain", False), ("fast", True)):
                model, seconds = train(config, folder, fast=fast)
                loss, f1, _ = judge(model, config, folder)
                found.append({"training": name, "dropout": dropout, "seed": seed, "validation_loss": loss,
                              "validation_F1": f1, "CPU_s": seconds})  # fmt: skip
                print(found[-1], file=sys.stderr, flush=True)
    verdicts, ok = judge_pairs(found, trivial)
    notes = [
        f"{arguments.epochs:g} epochs of 1,400 posts, LoRA r=16, effective batch 16, 200 validation posts; "
        "the same records in the same order",
        *verdicts,
    ]
    publish("training_quality", "Quality of fast and plain training", found, notes=notes, write=arguments.write)
    return 0 if ok else 1


def judge_pairs(found: Sequence[dict[str, Any]], trivial: float) -> tuple[list[str], bool]:
    """What each comparison says, and whether all of them hold."""
    lines = []
    (base,) = (row for row in found if row["training"] == "none")
    trained = [row for row in found if row["training"] != "none"]
    exact = {row["training"]: row["validation_loss"] for row in trained if not row["dropout"]}
    gap = abs(exact["fast"] - exact["plain"])
    lines.append((gap <= SAME_LOSS, f"without dropout: validation losses differ by {gap:.1e}, at most {SAME_LOSS:g}"))
    noisy = [row for row in trained if row["dropout"]]
    for key in ("validation_loss", "validation_F1"):
        plain, fast = ([row[key] for row in noisy if row["training"] == name] for name in ("plain", "fast"))
        gap, allowed = statistics.mean(fast) - statistics.mean(plain), spread_of_gap(plain, fast)
        lines.append(
            (
                abs(gap) <= allowed,
                f"{key.replace('_', ' ')}: fast minus plain {gap:+.4f}; seeds alone give ±{allowed:.4f}",
            )
        )
    lowest = min(row["validation_F1"] for row in trained)
    lines.append((lowest >= trivial + LEARNT, f"lowest F1 {lowest:.3f}; always answering hate gives {trivial:.3f}"))
    highest, before = max(row["validation_loss"] for row in trained), base["validation_loss"]
    lines.append((highest < before, f"highest validation loss {highest:.4f}; before the LoRA {before:.4f}"))
    return [f"{text}: {'holds' if ok else 'FAILS'}" for ok, text in lines], all(ok for ok, _ in lines)


def spread_of_gap(plain: Sequence[float], fast: Sequence[float]) -> float:
    """Half the 95% interval of a difference of two means of seeds, if the two trainings were one and the same: Student's,
    with the spread of the seeds within each training."""
    count = len(plain)
    pooled = math.sqrt((statistics.variance(plain) + statistics.variance(fast)) / 2)
    return float(student.ppf(0.975, 2 * count - 2)) * pooled * math.sqrt(2 / count)


if __name__ == "__main__":
    sys.exit(main())
