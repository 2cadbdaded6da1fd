"""A run directory as large as wanted, as if models had been there: sizes come in, shards and manifests go out.

Every shard has the columns that prediction writes, but for the log-likelihood of each label. Further cells are hard links to the first one's shards under
manifests of their own, so that 10^8 rows need the disk of 10^7."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.artifacts.adapters import AdapterRecord
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.shards import ShardManifest, commit_shard, shard_range
from sftlib.config.load import load_experiment
from sftlib.config.rundir import Run, open_run, prepare_run, read_splits

LABELS = ("hate", "normal")
REASONS = ("no_json", "bad_label", "truncated")


def make_run(folder: Path, rows: int, shards: int, groups: int, cells: int) -> Run:
    """`rows` test records in `shards`, answered by `cells` cells, the last of them the baseline where there are several."""
    run = _plan(folder, rows, shards, cells)
    names = [cell.id for cell in run.cells]
    for index in range(shards):
        first = _commit(run, names[0], index, _table(rows, index, shards, groups))
        for name in names[1:]:
            _link(run, names[0], name, first)
    return run


def _plan(folder: Path, rows: int, shards: int, cells: int) -> Run:
    """A run of that many records, though its test file holds two: ten million lines of JSON would prove nothing here."""
    folder.mkdir(parents=True)
    lines = [
        {"id": f"s{i}", "text": "t", "label": label, "group": "g000", "source": "a", "fine": "x"}
        for i, label in enumerate(LABELS)
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = {
        "name": "bench",
        "data": {"train": "test.jsonl", "test": "test.jsonl", "group_columns": ["group"], "source_column": "source",
                 "original_label_column": "fine"},
        "task": {"type": "classification", "labels": list(LABELS), "positive": LABELS[0]},
        "model": {"name_or_path": "org/model"},
        "sweep": {"list": [{"id": f"c{place}", "train.seed": place} for place in range(max(1, cells - 1))]},
        "predict": {"num_shards": shards, "baseline": cells > 1},
    }  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(values))
    experiment = load_experiment(folder / "experiment.json", [], "local")
    run = prepare_run(experiment, read_splits(experiment), folder / "runs", {})
    record = {**run.record, "inputs": {name: {**split, "count": rows} for name, split in run.inputs.items()}}
    write_json(run.paths.record, record)
    run = open_run(run.paths.root)
    for cell in run.cells:
        if not cell.is_baseline:
            _train(run, cell.id)
    return run


def _train(run: Run, cell: str) -> None:
    paths = run.paths.cell(cell)
    paths.adapter.mkdir(parents=True)
    AdapterRecord(cell, "base", "prompt", "tokenizer", f"weights of {cell}", "float32").write(paths.adapter)
    summary = {
        "complete": True,
        "config_sha256": run.record["cell_configs"][cell],
        "adapter_sha256": f"weights of {cell}",
    }
    paths.summary.write_text(json.dumps(summary))


def _parts(run: Run, cell: str) -> dict[str, str | None]:
    adapter = None if run.cell(cell).is_baseline else f"weights of {cell}"
    return {
        "adapter": adapter,
        "base": "base",
        "prompt": "prompt",
        "tokenizer": "tokenizer",
        "test": run.inputs["test"]["sha256"],
    }


def _commit(run: Run, cell: str, index: int, table: pa.Table) -> ShardManifest:
    where = shard_range(run.test_count, index, run.num_shards)
    return commit_shard(
        run.paths.cell(cell), table, parts=_parts(run, cell), index=index, count=run.num_shards, first_row=where.start
    )


def _link(run: Run, source: str, cell: str, manifest: ShardManifest) -> None:
    place = manifest.shard_index, manifest.num_shards
    target = run.paths.cell(cell).shard(*place)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(run.paths.cell(source).shard(*place), target)
    parts = _parts(run, cell)
    own = replace(manifest, cell=cell, parts=parts, fingerprint=sha256_value(parts))
    write_json(run.paths.cell(cell).shard_manifest(*place), asdict(own))


def _table(rows: int, index: int, shards: int, groups: int) -> pa.Table:
    """Scores that know something of the label, 2% of the answers unparsed, groups of unequal size and difficulty."""
    rng, where = np.random.default_rng(index), shard_range(rows, index, shards)
    n = len(where)
    label = rng.integers(0, 2, n)
    group = np.minimum(rng.exponential(groups / 3, n).astype(int), groups - 1)
    logit = rng.normal(np.where(label == 0, 1.0, -1.0) + 0.3 * np.sin(group), 1.5)
    score = 1 / (1 + np.exp(-logit))
    lost = rng.random(n) < 0.02
    answer = np.where(score >= 0.5, 0, 1)
    source, fine = rng.integers(0, 2, n), rng.integers(0, 3, n)
    words = np.array(LABELS)
    return pa.table({
        "sample_id": pa.array([f"sample-{row:09d}" for row in where]),
        "row": pa.array(np.arange(where.start, where.stop)),
        "gold": pa.array(words[label].tolist()),
        "prediction": pa.array(words[answer].tolist(), pa.string(), mask=lost),
        "reason": pa.array(np.array(REASONS)[rng.integers(0, 3, n)].tolist(), pa.string(), mask=~lost),
        "score": pa.array(score, mask=lost),
        "raw": pa.nulls(n, pa.string()),
        "prompt_tokens": pa.array(rng.integers(90, 160, n), pa.int32()),
        "new_tokens": pa.array(rng.integers(1, 3, n), pa.int32()),
        "source": pa.array(np.array(["forum", "probe"])[source].tolist()),
        "original_label": pa.array(np.array(["plain", "implicit", "slur"])[fine].tolist()),
        "group.group": pa.array(np.array([f"g{place:03d}" for place in range(groups)])[group].tolist()),
    })  # fmt: skip
