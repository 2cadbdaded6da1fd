"""Stands in for `python -m sftlib`: writes what a stage would write, after the behaviour that the run's file asks for.

behaviours.json: element -> {"sleep": s, "exit": code, "restarts": n (75 that often first), "deaf": ignores TERM,
"allocate_mb": so much memory, "sick_node": exits 69 there, "sleep_once": s (only at its first start)}.
"""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import sftlib
from sftlib.artifacts.adapters import AdapterRecord, MergedRecord, read_adapter_record, weights_digest
from sftlib.artifacts.atomic import append_line, write_json
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.artifacts.shards import ShardManifest, shard_range
from sftlib.paths import ADAPTER_WEIGHTS, RunPaths

STOPPED = 75
_KINDS = {"data": "prepare", "adapter": "fold"}  # commands of two words


class FakeRun:
    """What the stand-in needs of run.json, without the typed tree: forty of these start in the tests."""

    def __init__(self, root: Path) -> None:
        self.paths = RunPaths(root)
        self.record = json.loads(self.paths.record.read_text())
        self.test = self.record["inputs"]["test"]
        self.test_count = self.test["count"]
        self.num_shards = min(self.record["config"]["predict"]["num_shards"], self.test_count)
        self.cells = [cell["id"] for cell in self.record["cells"]]

    def known_parts(self, cell: str) -> dict:
        adapter = read_adapter_record(self.paths.cell(cell).adapter)
        trained = {"adapter": adapter.weights_sha256, "base": "b", "prompt": "p"} if adapter else {"adapter": None}
        return {"test": self.test["sha256"], **trained}


def main() -> int:
    words = sys.argv[1:]
    kind, root, *rest = (_KINDS[words[0]], *words[2:]) if words[0] in _KINDS else words
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    run, element = FakeRun(Path(root)), os.environ["SFTLIB_ELEMENT"]
    behaviour = _behaviour(run, element)
    if behaviour.get("sick_node", "none") == os.environ.get("SLURMD_NODENAME"):
        behaviour = behaviour | {"exit": 69}
    if behaviour.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: None)
    _trace(run, "start", element)
    code = _live(run, element, behaviour)
    if code == 0:
        code = {"prepare": _prepare, "train": _train, "predict": _predict, "fold": _fold, "merge": _merge}[kind](
            run, options
        ) or 0
    _trace(run, f"exit {code}", element)
    return code


def _behaviour(run: FakeRun, element: str) -> dict:
    path = run.paths.root / "behaviours.json"
    return json.loads(path.read_text()).get(element, {}) if path.exists() else {}


def _live(run: FakeRun, element: str, behaviour: dict) -> int:
    if not behaviour:
        return 0
    lines = (run.paths.root / "trace.jsonl").read_text().splitlines()
    starts = sum(json.loads(line)["event"] == "start" and json.loads(line)["element"] == element for line in lines)
    if starts <= behaviour.get("restarts", 0):
        return STOPPED
    held = bytearray(behaviour.get("allocate_mb", 0) << 20)
    held[::4096] = bytes(len(range(0, len(held), 4096))).replace(b"\0", b"x")  # touched, not only promised
    until = time.monotonic() + behaviour.get("sleep", 0) + (behaviour.get("sleep_once", 0) if starts <= 1 else 0)
    while time.monotonic() < until:
        if Path(os.environ["SFTLIB_STOP_FILE"]).exists() and not behaviour.get("deaf"):
            return STOPPED
        time.sleep(0.05)
    if behaviour.get("exit"):
        print(f"sft: {element} was told to fail", file=sys.stderr)
    return behaviour.get("exit", 0)


def _prepare(run: FakeRun, options: dict) -> None:
    """The token cache is none of the jobs' business."""


def _train(run: FakeRun, options: dict) -> None:
    cell = run.paths.cell(options["--cell"])
    cell.adapter.mkdir(exist_ok=True)
    (cell.adapter / ADAPTER_WEIGHTS).write_text("weights")
    digest = weights_digest(cell.adapter)
    AdapterRecord(cell.name, "b", "p", "t", digest, "float32").write(cell.adapter)
    config = sha256_value(json.loads(cell.config.read_text()))
    write_json(cell.summary, {"complete": True, "config_sha256": config, "adapter_sha256": digest, "seconds": 1.0})


def _predict(run: FakeRun, options: dict) -> None:
    cell, count = run.paths.cell(options["--cell"]), run.num_shards
    parts = {**run.known_parts(cell.name), "settings": "s"}
    first, _, last = options["--shards"].partition("-")
    for index in range(int(first), int(last) + 1):
        rows, path = shard_range(run.test_count, index, count), cell.shard(index, count)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"rows {rows}")
        size = path.stat().st_size
        manifest = ShardManifest(
            fingerprint=sha256_value(parts), parts=parts, cell=cell.name, shard_index=index, num_shards=count,
            first_row=rows.start, row_count=len(rows), ids_sha256="", file_sha256=sha256_file(path), file_bytes=size,
        )  # fmt: skip
        write_json(cell.shard_manifest(index, count), asdict(manifest))


def _fold(run: FakeRun, options: dict) -> None:
    cell = run.paths.cell(options["--cell"])
    cell.merged.mkdir(exist_ok=True)
    MergedRecord(cell.name, str(run.known_parts(cell.name)["adapter"]), "b", "w", 1, 4, 1.0).write(cell.merged)


def _merge(run: FakeRun, options: dict) -> int:
    names = run.cells
    whole = [
        all(run.paths.cell(n).shard_manifest(i, run.num_shards).exists() for i in range(run.num_shards)) for n in names
    ]
    rates = {"n": 6, "fpr": 0.25, "fnr": None}
    overall = {"n": 12, "f1": 0.5, "f1_low": 0.4, "f1_high": 0.6}
    cells = {name: {"overall": overall, "groups": {"group": {"a": rates, "b": rates}}} for name in names}
    metrics = {"schema_version": 1, "complete": all(whole), "cells": cells}
    write_json(run.paths.report.metrics_json, metrics)
    run.paths.report.html.write_text("<html></html>")
    return 0 if all(whole) else 3


def _trace(run: FakeRun, event: str, element: str) -> None:
    what = {
        "event": event,
        "element": element,
        "time": time.time(),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "code": sftlib.__file__,
        "node": os.environ.get("SLURMD_NODENAME"),
    }
    append_line(run.paths.root / "trace.jsonl", json.dumps(what))


if __name__ == "__main__":
    sys.exit(main())
