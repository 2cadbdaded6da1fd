"""What earlier trainings measured: the rate that a device reached and the tokens of a record, read from the summaries of
runs that lie side by side."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftlib.config.rundir import read_json
from sftlib.config.tree import SFTConfig
from sftlib.errors import CorruptError
from sftlib.paths import CellPaths

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


@dataclass(frozen=True)
class Counted:
    """Tokens of a record as a training counted them, and its configuration."""

    config: SFTConfig
    tokens: float


def counted_tokens(runs_dir: Path, config: SFTConfig) -> Counted | None:
    """The newest training on the same data with the same tokenizer; rather one with the same prompt."""
    wanted = config.to_dict()
    found: tuple[dict[str, Any], float] | None = None
    for path in _newest(runs_dir):
        values, tokens = _values(CellPaths(path.parent).config), _tokens_a_record(path)
        if tokens is None or any(_part(values, key) != _part(wanted, key) for key in _TEXTS):
            continue
        if all(_part(values, key) == _part(wanted, key) for key in _PROMPT):
            found = values, tokens
            break
        found = found or (values, tokens)
    try:
        return Counted(SFTConfig.model_validate(found[0]), found[1]) if found else None
    except ValidationError:  # written by another version
        return None


_TEXTS = ("data.train", "model.name_or_path", "model.revision", "model.tokenizer")
_PROMPT = ("prompt", "task", "train.max_length", "train.overlong")


def _part(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _values(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except CorruptError:
        return {}
    return value if isinstance(value, dict) else {}


def _tokens_a_record(path: Path) -> float | None:
    summary = _values(path)
    tokens, records = summary.get("tokens"), summary.get("records")
    return tokens / records if isinstance(tokens, int) and isinstance(records, int) and records else None


def _newest(runs_dir: Path) -> list[Path]:
    once = {path.resolve() for path in runs_dir.glob("*/cells/*/summary.json")}  # `latest` points at one of the runs
    found = [(path.stat().st_mtime, path) for path in once]
    return [path for _, path in sorted(found, reverse=True)[:_MOST_SUMMARIES]]


def _performance(path: Path) -> dict[str, Any]:
    value = _values(path).get("performance")
    return value if isinstance(value, dict) and isinstance(value.get("flops_per_s"), int | float) else {}
