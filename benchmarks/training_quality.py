"""Validation loss and F1 after equal epochs of fast and plain training, with three seeds: does the fast path cost quality?

python -m benchmarks.training_quality [--epochs 4] [--write]     (make training-quality)

A small Llama shape learns the bundled posts as text, then gets a LoRA with dropout on the task. Plain: TRL, padded batches.
Fast: sftlib as it is by default, behind shared beginnings. Same records, order, batches, learning rates; with dropout the
two draw different noise, so that they agree as two seeds do and not bit by bit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from sklearn.metrics import f1_score
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from benchmarks.harness import publish
from sftlib.config.tree import SFTConfig
from sftlib.data.processing import SFTDatasetProcessor
from sftlib.data.rendering import IGNORED
from sftlib.data.rows import Rows
from sftlib.train.adapter import lora_config
from sftlib.train.arguments import training_arguments
from sftlib.train.batches import dataset_of, plan_batches
from sftlib.train.loss import SupervisedTrainer
from tests.tiny import build_tokenizer

SYSTEM = ("Does the author attack, demean or exclude people because of their group? Being mentioned is no sign by itself, "
          "and neither are quotes that are rejected, harmless talk among friends, or anger at a thing. Answer hate or normal.")  # fmt: skip


def settings(folder: Path, seed: int, epochs: float, **sections: Any) -> SFTConfig:
    posts = files("sftlib.data.posts")
    given = {
        "data": {"train": str(posts / "train.jsonl"), "validation": str(posts / "validation.jsonl"),
                 "test": str(posts / "test.jsonl"), "label_column": "label_binary", "id_column": "original_id"},
        "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"},
        "prompt": {"system": SYSTEM, "user": "{text}"},
        "model": {"name_or_path": str(folder), "dtype": "float32"},
        "lora": {"r": 16, "alpha": 32, "dropout": 0.1, "target_modules": "all-linear"},
        "train": {"epochs": epochs, "batch_size": 8, "gradient_accumulation": 2, "learning_rate": 4e-3, "seed": seed,
                  "logging_steps": 1000, "loggers": [], "max_length": 512},
    }  # fmt: skip
    for name, section in sections.items():
        given[name] = {**given[name], **section}
    return SFTConfig.model_validate(given)


def make_base(folder: Path) -> None:
    """A model of four layers that has read the posts."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
    )).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    reading = settings(
        folder,
        0,
        1.0,
        lora={"enabled": False},
        prompt={"system": None},
        train={"loss_on": "all", "learning_rate": 3e-3},
    )
    model, _ = train(reading, folder, fast=True)
    model.save_pretrained(folder)


def train(config: SFTConfig, folder: Path, *, fast: bool) -> tuple[Any, float]:
    """The trained model, and the seconds of its training."""
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
        else:
            trainer = trl.SFTTrainer(**given, train_dataset=Dataset.from_list([rows[i] for i in range(len(rows))]))
        started = time.process_time()
        trainer.train()
        return trainer.model, time.process_time() - started


def rows_of(config: SFTConfig, tokenizer: Any, split: str) -> Rows:
    return SFTDatasetProcessor(config, tokenizer).rows(split)


@torch.no_grad()
def judge(model: Any, config: SFTConfig, folder: Path) -> tuple[float, float]:
    """Mean loss of the supervised tokens, and F1 of the likelier label, record by record without any batching."""
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
    return total / count, float(f1_score(gold, answers))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_base(folder)
        for seed in range(arguments.seeds):
            config = settings(folder, seed, arguments.epochs)
            for name, fast in (("plain", False), ("fast", True)):
                model, seconds = train(config, folder, fast=fast)
                loss, f1 = judge(model, config, folder)
                found.append(
                    {"training": name, "seed": seed, "validation_loss": loss, "validation_F1": f1, "CPU_s": seconds}
                )
                print(found[-1], file=sys.stderr, flush=True)
    notes = [
        f"{arguments.epochs:g} epochs of 1,400 posts, LoRA r=16 with dropout 0.1, effective batch 16",
        *_verdicts(found),
    ]
    publish("training_quality", "Quality of fast and plain training", found, notes=notes, write=arguments.write)
    return 0


def _verdicts(found: list[dict[str, Any]]) -> list[str]:
    """The gap between fast and plain, beside the spread of the seeds of plain training."""
    lines = []
    for key in ("validation_loss", "validation_F1"):
        plain, fast = ([row[key] for row in found if row["training"] == name] for name in ("plain", "fast"))
        gap = statistics.mean(fast) - statistics.mean(plain)
        spread = statistics.stdev(plain) if len(plain) > 1 else float("nan")
        lines.append(
            f"{key.replace('_', ' ')}: fast minus plain {gap:+.4f}; standard deviation over plain's seeds {spread:.4f}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
