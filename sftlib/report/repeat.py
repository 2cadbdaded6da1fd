"""`repeat`: two run directories of the same experiment in, what of them is equal out: adapters, labels, scores, cell by cell."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sftlib.artifacts.adapters import weights_digest
from sftlib.config.rundir import Run, open_run
from sftlib.paths import CellPaths

HELP = "compare two runs of the same experiment: adapters and predictions, cell by cell (sft rerun --verify calls it)"
EXAMPLE = """example:
  python -m sftlib repeat runs/demo-1a2b3c4d runs/demo-1a2b3c4d.verify-001"""
# name in a safetensors header -> how its bytes are read; bfloat16 is the upper half of a float32
_TYPES: dict[str, Any] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "F64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="RUN")
    parser.add_argument("second", type=Path, metavar="OTHER")


def run(arguments: argparse.Namespace) -> int:
    first, second = open_run(arguments.first), open_run(arguments.second)
    print(json.dumps({cell.id: compare_cell(first, second, cell.id) for cell in first.cells}, indent=2))
    return 0


def compare_cell(first: Run, second: Run, name: str) -> dict[str, Any]:
    """`{"adapter": {...} or null, "predictions": {...}}`."""
    adapter = (
        None if first.cell(name).is_baseline else compare_adapters(first.paths.cell(name), second.paths.cell(name))
    )
    return {"adapter": adapter, "predictions": compare_predictions(first, second, name)}


def compare_adapters(first: CellPaths, second: CellPaths) -> dict[str, Any]:
    """Equal bit for bit, or by how much the furthest weight is off."""
    if weights_digest(first.adapter) == weights_digest(second.adapter):
        return {"equal": True, "max_difference": 0.0}
    ours, theirs = dict(_tensors(first.adapter)), dict(_tensors(second.adapter))
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return {"equal": False, "max_difference": None}
    differences = [float(np.max(np.abs(ours[name] - theirs[name]), initial=0.0)) for name in ours]
    return {"equal": max(differences) == 0.0, "max_difference": max(differences)}


def _tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The weights of an adapter folder as float32, read without torch."""
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, tensor in json.loads(data[8:start]).items():
            if name != "__metadata__":
                yield f"{path.name}:{name}", _as_float(data[start:], tensor)


def _as_float(data: bytes, tensor: dict[str, Any]) -> np.ndarray:
    low, high = tensor["data_offsets"]
    values = np.frombuffer(data[low:high], dtype=_TYPES[tensor["dtype"]])
    if tensor["dtype"] == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64).reshape(tensor["shape"])


def compare_predictions(first: Run, second: Run, name: str) -> dict[str, Any]:
    """Row by row: how many labels differ, and by how much the furthest score is off."""
    ours, theirs = _predictions(first, name), _predictions(second, name)
    if ours.column("sample_id") != theirs.column("sample_id"):
        return {"equal": False, "rows": ours.num_rows, "labels_differ": None, "max_score_difference": None}
    labels = zip(ours.column("prediction").to_pylist(), theirs.column("prediction").to_pylist(), strict=True)
    return {
        "equal": ours.equals(theirs), "rows": ours.num_rows, "labels_differ": sum(a != b for a, b in labels),
        "max_score_difference": _score_difference(ours, theirs),
    }  # fmt: skip


def _score_difference(ours: Any, theirs: Any) -> float | None:
    if "score" not in ours.column_names or "score" not in theirs.column_names:
        return None
    pairs = zip(ours.column("score").to_pylist(), theirs.column("score").to_pylist(), strict=True)
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=None)


def _predictions(run: Run, name: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths, count = run.paths.cell(name), run.num_shards
    shards = [pq.read_table(paths.shard(index, count), page_checksum_verification=True) for index in range(count)]
    return pa.concat_tables(shards).combine_chunks()
