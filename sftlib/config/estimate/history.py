"""What earlier trainings measured: the rate that a device reached, read from the summaries of runs that lie side by side."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.config.rundir import read_json
from sftlib.errors import CorruptError

_MOST_SUMMARIES = 60


@dataclass(frozen=True)
class Measured:
    """Operations a second of like trainings on one device, and how far they spread."""

    rate: float
    spread: float  # half the distance between the quartiles, as a share of the rate
    count: int


def measured_rate(runs_dir: Path, device: str, kind: dict[str, Any]) -> Measured | None:
    """The median over the newest summaries whose training was of this kind on this device."""
    rates = []
    for path in _newest(runs_dir):
        performance = _performance(path)
        if performance.get("device") == device and performance.get("kind") == kind:
            rates.append(float(performance["flops_per_s"]))
    if not rates:
        return None
    middle = statistics.median(rates)
    low, _, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else (middle, middle, middle)
    return Measured(middle, (high - low) / 2 / middle, len(rates))


def _newest(runs_dir: Path) -> list[Path]:
    found = [(path.stat().st_mtime, path) for path in runs_dir.glob("*/cells/*/summary.json")]
    return [path for _, path in sorted(found, reverse=True)[:_MOST_SUMMARIES]]


def _performance(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path).get("performance")
    except (CorruptError, AttributeError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("flops_per_s"), int | float) else {}
