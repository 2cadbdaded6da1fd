"""What earlier trainings measured: the rate that a device reached and the tokens of a record, read from the summaries of
runs that lie side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftlib.config.references import get_key
from sftlib.config.rundir import read_json
from sftlib.config.tree import SFTConfig
from sftlib.errors import CorruptError
from sftlib.paths import CellPaths

_MOST_SUMMARIES = 60


@dataclass(frozen=True)
class Training:
    """One that came to its end: its settings and its summary as they were written."""

    settings: dict[str, Any]
    summary: dict[str, Any]

    @property
    def performance(self) -> dict[str, Any]:
        value = self.summary.get("performance")
        return value if isinstance(value, dict) and isinstance(value.get("effort_per_s"), int | float) else {}

    @property
    def tokens_a_record(self) -> float | None:
        tokens, records = self.summary.get("tokens"), self.summary.get("records")
        return tokens / records if isinstance(tokens, int) and isinstance(records, int) and records else None


def read_trainings(runs_dir: Path) -> list[Training]:
    """The newest trainings of the runs in this folder, newest first."""
    once = {path.resolve() for path in runs_dir.glob("*/cells/*/summary.json")}  # `latest` points at one of the runs
    newest = sorted(((path.stat().st_mtime, path) for path in once), reverse=True)[:_MOST_SUMMARIES]
    return [Training(_values(CellPaths(path.parent).config), _values(path)) for _, path in newest]


def _values(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except CorruptError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Measured:
    """Effort a second (compute.effort) of like trainings on one device, and how far they spread."""

    rate: float
    spread: float  # half the distance between the quartiles, as a share of the rate
    count: int
    warm_up_s: float = 0.0  # what a first step takes more than the others
    warm_up_passes: float = 0.0  # the same, as so many passes of the others


def measured_rate(trainings: Sequence[Training], device: str, kind: dict[str, Any]) -> Measured | None:
    """The median over the trainings of this kind on this device."""
    performances = [training.performance for training in trainings]
    found = [of for of in performances if of.get("device") == device and of.get("kind") == kind]
    if not found:
        return None
    found = [of for of in found if of["warm_up_s"] is not None] or found  # in the others' rates it is still contained
    rates = [float(of["effort_per_s"]) for of in found]
    middle = statistics.median(rates)
    low, _, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else (middle, middle, middle)
    warm_up = (statistics.median(float(of.get(name) or 0) for of in found) for name in ("warm_up_s", "warm_up_passes"))
    return Measured(middle, (high - low) / 2 / middle, len(rates), *warm_up)


@dataclass(frozen=True)
class Counted:
    """Tokens of a record as a training counted them, and its configuration."""

    config: SFTConfig
    tokens: float


_TEXTS = ("data.train", "model.name_or_path", "model.revision", "model.tokenizer")
_PROMPT = ("prompt", "task", "train.max_length", "train.overlong")


def counting_key(config: SFTConfig) -> str:
    """Equal for configurations that `counted_tokens` answers alike."""
    return repr(attrgetter(*_TEXTS, *_PROMPT)(config))


def counted_tokens(trainings: Sequence[Training], config: SFTConfig) -> Counted | None:
    """Of the newest training on the same data with the same tokenizer; rather one with the same prompt."""
    wanted = config.to_dict()
    alike = [one for one in trainings if one.tokens_a_record and _is_alike(one, wanted, _TEXTS)]
    found = next((one for one in alike if _is_alike(one, wanted, _PROMPT)), alike[0] if alike else None)
    if found is None or found.tokens_a_record is None:
        return None
    try:
        return Counted(SFTConfig.model_validate(found.settings), found.tokens_a_record)
    except ValidationError:  # written by another version
        return None


def _is_alike(training: Training, wanted: dict[str, Any], keys: Sequence[str]) -> bool:
    return all(get_key(training.settings, key) == get_key(wanted, key) for key in keys)
