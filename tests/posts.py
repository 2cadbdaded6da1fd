"""Small labelled data sets for tests, made of words that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GROUPS = ("north", "south", "west")


def write_posts(path: Path, count: int, *, start: int = 0, **fields: Any) -> Path:
    """`count` labelled records: every third is hate, groups in turn."""
    records = [
        {
            "original_id": f"p{index}",
            "text": f"the people of {GROUPS[index % 3]} are {'trouble' if index % 3 == 0 else 'welcome'} number {index}",
            "label_binary": "hate" if index % 3 == 0 else "normal",
            "target_group_norm": GROUPS[(index // 3) % 3],
            "source_dataset": ("forum", "probe")[index % 2],
            "label_multiclass": ("offensive", "normal", "positive")[index % 3],
            **fields,
        }
        for index in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_experiment(folder: Path, model: Path | str, *, train: int = 24, test: int = 18, **sections: Any) -> Path:
    """A whole experiment on such data; `sections` are laid over it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_posts(folder / "train.jsonl", train)
    write_posts(folder / "test.jsonl", test, start=1000)
    experiment: dict[str, Any] = {
        "name": "tiny",
        "data": {
            "train": "train.jsonl", "test": "test.jsonl", "label_column": "label_binary", "id_column": "original_id",
            "group_columns": ["target_group_norm"], "source_column": "source_dataset",
            "original_label_column": "label_multiclass",
        },
        "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"},
        "prompt": {"system": "hate or normal?"},
        "model": {"name_or_path": str(model), "dtype": "float32"},
        "lora": {"r": 4, "alpha": 8, "dropout": 0.0},
        "train": {"epochs": 1, "batch_size": 4, "gradient_accumulation": 1, "learning_rate": 1e-3, "logging_steps": 1, "loggers": []},
        "predict": {"num_shards": 2},
        "report": {"bootstrap": 200},
    }  # fmt: skip
    for name, section in sections.items():
        experiment[name] = {**experiment.get(name, {}), **section} if isinstance(section, dict) else section
    path = folder / "experiment.json"
    path.write_text(json.dumps(experiment, indent=1), encoding="utf-8")
    return path
