"""Data with the faults that a public fine-tune had without anyone noticing, made of words that mean nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

GROUPS = ("north", "south", "west")
SYSTEM = "You judge posts. Answer with one JSON object."
WORDS = [
    "river", "lamp", "quiet", "market", "stone", "winter", "bread", "garden", "wheel", "paper", "cloud",
    "bridge", "violet", "engine", "harbour", "clock", "ladder", "silver", "pencil", "meadow", "copper", "window",
    "thunder", "basket", "orchard", "button", "candle", "feather", "kettle", "marble",
]  # fmt: skip


def text(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(9, 22)))


def labelled(rng: random.Random, index: int, split: str) -> dict[str, Any]:
    label = "hate" if rng.random() < 0.47 else "normal"
    return {
        "original_id": f"{split}-{index}", "text": text(rng), "label_binary": label,
        "target_group_norm": GROUPS[index % 3], "split": split,
    }  # fmt: skip


def clean_split(name: str, count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"{name} {seed}")
    return [labelled(rng, index, name) for index in range(count)]


def as_chat(record: dict[str, Any], *, braces: int = 1, system: str = SYSTEM) -> dict[str, Any]:
    """A finished chat record; the number of braces around the answer is the fault."""
    answer = json.dumps({"classification": record["label_binary"]})
    answer = "{" * (braces - 1) + answer + "}" * (braces - 1)
    turns = [
        {"role": "system", "content": system},
        {"role": "user", "content": f'Post: "{record["text"]}"\nClassify it.'},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": turns, **{key: value for key, value in record.items() if key != "text"}}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_flawed(folder: Path, *, train: int = 600, seed: int = 0) -> dict[str, Path]:
    """Chat records for training with doubled braces around `normal`; plain records for the rest; a strategy for prediction."""
    folder.mkdir(parents=True, exist_ok=True)
    learnt, checked, tested = (
        clean_split("train", train, seed), clean_split("validation", train // 6, seed), clean_split("test", train // 3, seed),
    )  # fmt: skip
    learnt[5]["text"] = learnt[9]["text"].upper() + "!"  # a duplicate with another label, in another dress
    learnt[5]["label_binary"], learnt[9]["label_binary"] = "hate", "normal"
    learnt[20] = {**learnt[21], "original_id": "train-20"}  # a plain duplicate
    for place in range(8):
        copied = {name: learnt[40 + place][name] for name in ("text", "label_binary")}
        tested[place] |= copied  # leaked word for word
    words = learnt[60]["text"].split()
    tested[8]["text"] = " ".join([*words[:-1], "elsewhere"])  # and nearly so
    checked[3] |= {name: learnt[70][name] for name in ("text", "label_binary")}
    for place in range(train // 4):
        learnt[100 + place]["split"] = "test"
    chat = [as_chat(record, braces=2 if record["label_binary"] == "normal" else 1) for record in learnt]
    strategy = {
        "strategies": {
            "other": {
                "description": "not what was trained",
                "system_prompt": "Is this hate?",
                "user_template": "{text}",
            }
        }
    }
    (folder / "strategy.json").write_text(json.dumps(strategy), encoding="utf-8")
    return {
        "train": write(folder / "train.jsonl", chat),
        "validation": write(folder / "validation.jsonl", [as_chat(record) for record in checked]),
        "test": write(folder / "test.jsonl", [as_chat(record) for record in tested]),
        "strategy": folder / "strategy.json",
    }


def write_clean(folder: Path, *, train: int = 600, seed: int = 0) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": train, "validation": train // 6, "test": train // 3}
    return {name: write(folder / f"{name}.jsonl", clean_split(name, count, seed)) for name, count in sizes.items()}
