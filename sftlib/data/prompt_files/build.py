"""One chat-format file a strategy and split, whole or not at all; nothing is left out, and nothing filled in, in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sftlib
from sftlib.artifacts.atomic import replacing_dir, write_json
from sftlib.artifacts.hashing import sha256_file
from sftlib.artifacts.records import Record
from sftlib.config.inputs import Split, named_splits, read_split
from sftlib.config.references import read_strategy
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError, InputError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Built:
    """What was written, and the account of every record."""

    manifest: dict[str, Any]
    files: list[Path]


def build(config: SFTConfig, strategy_file: Path, strategies: list[str], out: Path, *, force: bool = False) -> Built:
    """Write OUT/STRATEGY/SPLIT.jsonl for each, and the manifest last."""
    prompts = {name: read_strategy(str(strategy_file), name) for name in strategies}
    taken = [out / name for name in strategies if (out / name).exists()]
    if taken and not force:
        raise InputError(f"{taken[0]} is there already: name another --out, or write over it with --force")
    splits = {name: read_split(config, name) for name in named_splits(config)}
    with ExitStack() as stack:  # no strategy's folder appears before all are whole
        for name, strategy in prompts.items():
            _write(_with_strategy(config, strategy), splits, stack.enter_context(replacing_dir(out / name)))
    files = [out / name / f"{split}.jsonl" for name in prompts for split in splits]
    manifest = {
        "sftlib": sftlib.__version__,
        "strategy_file": {"path": str(strategy_file), "sha256": sha256_file(strategy_file)},
        "strategies": {name: strategy.get("description", "") for name, strategy in prompts.items()},
        "parameters": {name: strategy.get("parameters", {}) for name, strategy in prompts.items()},
        "task": config.task.model_dump(mode="json"),
        "splits": {name: _account(split, config) for name, split in splits.items()},
        "files": {path.relative_to(out).as_posix(): sha256_file(path) for path in files},
    }
    write_json(out / MANIFEST, manifest)
    return Built(manifest, files)


def _with_strategy(config: SFTConfig, strategy: dict[str, Any]) -> SFTConfig:
    texts = {"system": strategy.get("system_prompt"), "user": strategy["user_template"]}
    return config.model_copy(update={"prompt": config.prompt.model_copy(update=texts)})


def _write(config: SFTConfig, splits: dict[str, Split], folder: Path) -> None:
    for name, split in splits.items():
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for line in _lines(split, config):
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _lines(split: Split, config: SFTConfig) -> Iterator[dict[str, Any]]:
    if split.format != "labelled":
        raise DataError(
            f"data.{split.name}: the records are of format {split.format}: prompts are built from labelled ones, with "
            f"the fields {config.data.text_column!r} and {config.data.label_column!r}"
        )
    for record, sample in zip(split.records, samples_of(split, config), strict=True):
        yield _line(record, sample, config)


def _line(record: Record, sample: Sample, config: SFTConfig) -> dict[str, Any]:
    """The conversation, and what the record is compared by under the names that it had."""
    target = sample.target or ""
    if parse_label(target, config.task) != (sample.gold, None):
        raise DataError(
            f"{record.place}: the target {target!r} would not be read back as {sample.gold!r}: change task.verbalizers"
        )
    data = config.data
    columns = [data.label_column, *data.group_columns, data.source_column, data.original_label_column]
    kept = {column: record.fields[column] for column in columns if column and column in record.fields}
    answer = {"role": "assistant", "content": target}
    return {data.messages_column: [*sample.messages, answer], data.id_column or "sample_id": sample.id, **kept}


def _account(split: Split, config: SFTConfig) -> dict[str, Any]:
    left_out = {why: count for why, count in split.dropped.items() if count}
    if split.available > len(split):
        left_out["data.sample_size or subset"] = split.available - len(split)
    return {
        "path": split.source.path or split.source.hub,
        "sha256": split.sha256,
        "read": len(split) + sum(left_out.values()),
        "written": len(split),
        "left_out": left_out,
        "faults": list(split.faults),
        "labels": dict(sorted(split.count(config.data.label_column).items())),
    }
