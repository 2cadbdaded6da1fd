"""Run directories that look as if models had been there: answers of a few cells come in, a Run goes out."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sftlib.artifacts.adapters import AdapterRecord
from sftlib.artifacts.shards import commit_shard, shard_range
from sftlib.config.load import load_experiment
from sftlib.config.rundir import Run, prepare_run, read_splits

LABELS = ["hate", "normal"]
Answer = tuple[str | None, float | None]  # prediction, score


@dataclass
class Record:
    """A test record with everything that a report looks at."""

    id: str
    gold: str
    group: Any = "north"
    source: str | None = "forum"
    original: str | None = "plain"


@dataclass
class World:
    """Test records and every cell's answers to them; `baseline` is the cell without an adapter."""

    records: list[Record]
    answers: dict[str, list[Answer]]
    labels: list[str] = field(default_factory=lambda: list(LABELS))
    positive: str | None = "hate"
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)


def make_world(
    count: int = 60, seed: int = 0, cells: Sequence[str] = ("r4", "r8", "baseline"), **sections: Any
) -> World:
    """Three groups, two sources, cells of rising skill, now and then an answer that could not be read."""
    draw = random.Random(seed)
    records = [
        Record(f"s{index:04d}", draw.choice(LABELS), ("north", "south", "west")[index % 3], ("forum", "probe")[index % 2],
               draw.choice(["plain", "implicit"]))
        for index in range(count)
    ]  # fmt: skip
    skill = {"r4": 0.7, "r8": 0.85}
    answers = {cell: [_answer(draw, record.gold, skill.get(cell, 0.5)) for record in records] for cell in cells}
    return World(records, answers, sections=sections)


def _answer(draw: random.Random, gold: str, skill: float) -> Answer:
    if draw.random() < 0.05:
        return None, None
    right = draw.random() < skill
    is_hate = (gold == "hate") == right
    return ("hate" if is_hate else "normal"), round(draw.uniform(0.5, 1.0) if is_hate else draw.uniform(0.0, 0.5), 3)


def make_run(folder: Path, world: World, num_shards: int = 3, *, order: Sequence[int] | None = None) -> Run:
    """A run in which every cell is trained and every shard committed, in the given order."""
    run = plan_run(folder, world, num_shards)
    for cell in run.cells:
        if not cell.is_baseline:
            pretend_training(run, cell.id)
        for index in order if order is not None else range(run.num_shards):
            pretend_shard(run, world, cell.id, index)
    return run


def plan_run(folder: Path, world: World, num_shards: int) -> Run:
    """The run directory as `sft run` makes it, before anything has run."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = [int(cell.removeprefix("r")) for cell in world.answers if cell != "baseline"]
    (folder / "test.jsonl").write_text("".join(json.dumps(_line(record)) + "\n" for record in world.records))
    is_classification = world.sections.get("task", {}).get("type", "classification") == "classification"
    task: dict[str, Any] = {"type": "classification", "labels": world.labels, "positive": world.positive}
    values: dict[str, Any] = {
        "name": "synthetic",
        "data": {
            "train": "test.jsonl", "test": "test.jsonl", "label_column": "gold", "id_column": "id",
            "group_columns": ["group"], "source_column": "source", "original_label_column": "original",
        },
        "task": task if is_classification else {"type": "generation"},
        "model": {"name_or_path": "org/model"},
        "sweep": {"grid": {"lora.r": ranks}} if len(ranks) > 1 else {"list": [{"id": f"r{ranks[0]}", "lora.r": ranks[0]}]},
        "predict": {"num_shards": num_shards, "baseline": "baseline" in world.answers},
        "report": {"bootstrap": 100},
    }  # fmt: skip
    for name, section in world.sections.items():
        values[name] = {**values[name], **section} if isinstance(section, dict) and name in values else section
    path = folder / "experiment.json"
    path.write_text(json.dumps(values))
    experiment = load_experiment(path, [], "local")
    return prepare_run(
        experiment, read_splits(experiment), folder / "runs", {"sftlib": "0", "code": {"sha256": "c0de"}}
    )


def _line(record: Record) -> dict[str, Any]:
    return {
        "id": record.id, "text": f"text of {record.id}", "gold": record.gold, "group": record.group,
        "source": record.source, "original": record.original,
    }  # fmt: skip


def pretend_training(run: Run, cell: str) -> None:
    """An adapter's record, the summary and the metrics that a training leaves behind."""
    paths = run.paths.cell(cell)
    paths.adapter.mkdir(parents=True, exist_ok=True)
    AdapterRecord(cell, "base", "prompt", "tokenizer", f"weights of {cell}", "float32").write(paths.adapter)
    summary = {
        "complete": True, "config_sha256": run.record["cell_configs"][cell], "records": 24, "tokens": 1200,
        "supervised_tokens": 48, "train_loss": 0.25, "seconds": 12.5, "adapter_sha256": f"weights of {cell}",
        "receipt": {"machine": {"python": "3"}, "packages": {"torch": "2"}},
    }  # fmt: skip
    paths.summary.write_text(json.dumps(summary))
    steps = [
        {"step": step, "loss": 2.0 / step, "learning_rate": 1e-3 / step, "tokens_per_s": 300.0 + step}
        for step in range(1, 9)
    ]
    paths.metrics.write_text("".join(json.dumps(step) + "\n" for step in steps) + '{"step": 9, "lo')
    paths.convergence.write_bytes(b"")  # newer than the metrics: not drawn again, which costs a second a cell


def parts_of(run: Run, cell: str, **changes: str | None) -> dict[str, str | None]:
    trained = None if run.cell(cell).is_baseline else f"weights of {cell}"
    parts = {"adapter": trained, "base": "base", "prompt": "prompt", "tokenizer": "tokenizer",
             "test": run.inputs["test"]["sha256"], "settings": "settings"}  # fmt: skip
    return {**parts, **changes}


def pretend_shard(run: Run, world: World, cell: str, index: int, **changes: Any) -> None:
    """Commit one shard as the prediction stage does; `changes` replace parts of its fingerprint or `table`."""
    where = shard_range(len(world.records), index, run.num_shards)
    table = changes.pop("table", None)
    table = table if table is not None else shard_table(world, cell, where)
    commit_shard(run.paths.cell(cell), table, parts=parts_of(run, cell, **changes), index=index, count=run.num_shards,
                 first_row=where.start)  # fmt: skip


def shard_table(world: World, cell: str, where: range) -> pa.Table:
    records = world.records[where.start : where.stop]
    answers = world.answers[cell][where.start : where.stop]
    several = any(isinstance(record.group, list) for record in world.records)
    groups: list[Any] = [record.group for record in records]
    return pa.table({
        "sample_id": pa.array([record.id for record in records], pa.string()),
        "row": pa.array(where, pa.int64()),
        "gold": pa.array([record.gold for record in records], pa.string()),
        "prediction": pa.array([prediction for prediction, _ in answers], pa.string()),
        "reason": pa.array([None if prediction is not None else "no_json" for prediction, _ in answers], pa.string()),
        "score": pa.array([score for _, score in answers], pa.float64()),
        "raw": pa.array([prediction for prediction, _ in answers], pa.string()),
        "prompt_tokens": pa.array([10] * len(records), pa.int32()),
        "new_tokens": pa.array([2] * len(records), pa.int32()),
        "source": pa.array([record.source for record in records], pa.string()),
        "original_label": pa.array([record.original for record in records], pa.string()),
        "group.group": pa.array(groups, pa.list_(pa.string()) if several else pa.string()),
    })  # fmt: skip


def sums(m: Mapping[str, Any]) -> int:
    """The six outcomes of an M added up: always n."""
    return sum(m[key] for key in ("tp", "fn", "fp", "tn", "unparsed_positive", "unparsed_negative"))
