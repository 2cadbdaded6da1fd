"""What suites share: peers measured in turn within one run, and results as JSON and a table with machine and versions."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from sftlib.artifacts.receipt import machine

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "pyarrow", "bitsandbytes",
            "liger-kernel", "unsloth", "flash-attn")  # fmt: skip


def race(peers: Mapping[str, Callable[[], Any]], *, rounds: int = 3, warmups: int = 1) -> dict[str, list[float]]:
    """Seconds of each peer in each round. Peers take turns, so that noise of the machine hits all; warm-ups do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(warmups + rounds):
        for name, work in peers.items():
            started = time.perf_counter()
            work()
            if turn >= warmups:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)


def environment() -> dict[str, Any]:
    """The machine and the packages that could matter, as far as they are there."""
    return {"machine": {**machine(), **_gpu()}, "packages": _versions()}


def publish(suite: str, title: str, rows: Sequence[Mapping[str, Any]], *, notes: Sequence[str] = (), write: bool = True,
            **facts: Any) -> dict[str, Any]:  # fmt: skip
    """Print the table; with `write`, also put `results/SUITE.json` and `results/SUITE.md` in place."""
    # Of this machine's paths, the name is enough.
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    command = f"python -m benchmarks.{facts.pop('module', suite)} {' '.join(words)}".strip()
    record = {"suite": suite, "title": title, "command": command, **environment(), **facts, "rows": list(rows),
              "notes": list(notes)}  # fmt: skip
    page = render(record)
    print(page)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{suite}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (RESULTS / f"{suite}.md").write_text(page, encoding="utf-8")
    return record


def render(record: Mapping[str, Any]) -> str:
    """The page of a result."""
    rows = record["rows"]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(column.replace("_", " ") for column in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    where = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    foot = [f"Command: `{record['command']}`", "",
            f"Machine: {where.get('gpu') or where['cpu']}, {where['cores']} cores, {where['platform']}, Python {where['python']}; {versions}"]  # fmt: skip
    notes = [f"- {note}" for note in record["notes"]]
    return "\n".join([f"# {record['title']}", "", *lines, "", *notes, *([""] if notes else []), *foot]) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}" if 0 < abs(value) < 0.001 else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu() -> dict[str, Any]:
    """The GPU, where torch is loaded already: a suite without torch shall not pay for its import."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {"gpu": None}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "python": platform.python_version()}
