"""What `sft evaluate` was asked for: column names and choices come in, and with the files' labels an SFTConfig goes out,
so that foreign predictions are judged by the very code that judges a run's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftlib.config.predict import ReportSection
from sftlib.config.problems import did_you_mean
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError, InputError
from sftlib.report.foreign.columns import plain_text

MOST_LABELS = 1_000  # distinct values of a label column; more of them and it is no label column
# Of two labels these are the positive one; of two others the first in the alphabet is, and the report says so.
_POSITIVE = ("1", "true", "yes", "positive", "pos")


@dataclass(frozen=True)
class Request:
    """Columns by what they hold, and how they are read."""

    label: str  # of the true label
    prediction: str | None
    id: str | None
    groups: tuple[str, ...] = ()
    score: str | None = None
    raw: str | None = None
    reason: str | None = None
    source: str | None = None
    original_label: str | None = None
    positive: str | None = None
    labels: tuple[str, ...] = ()
    aliases: dict[str, list[str]] = field(default_factory=dict)
    separator: str | None = None
    json_key: str = "classification"
    threshold: float | None = None  # on the score
    validation: Path | None = None  # a table like the others, on which a threshold is fitted
    objective: str = "f1"
    report: ReportSection = field(default_factory=ReportSection)
    is_open_ended: bool = False  # labels are reference texts, predictions answers

    @property
    def named(self) -> dict[str, str]:
        """Option -> column, of all single ones that are asked for."""
        options = {
            "--label": self.label, "--prediction": self.prediction, "--id": self.id, "--score": self.score,
            "--raw": self.raw, "--reason": self.reason, "--source": self.source, "--original-label": self.original_label,
        }  # fmt: skip
        return {option: column for option, column in options.items() if column is not None}


def make_config(request: Request, labels: Sequence[str], positive: str | None) -> SFTConfig:
    """The settings that a run with these labels, groups and report settings would have."""
    data = {
        "group_columns": list(request.groups), "source_column": request.source,
        "original_label_column": request.original_label,
    }  # fmt: skip
    if request.is_open_ended:
        return SFTConfig.model_validate(
            {"data": data, "task": {"type": "generation"}, "report": request.report.model_dump()}
        )
    return SFTConfig.model_validate({
        "data": data,
        "task": {
            "type": "classification", "labels": list(labels), "positive": positive, "target": "label",
            "json_key": request.json_key, "aliases": {k: v for k, v in request.aliases.items() if k in labels},
        },
        "report": request.report.model_dump(),
    })  # fmt: skip


def choose_labels(request: Request, golds: Iterable[str], answers: Iterable[str]) -> tuple[list[str], str | None, str]:
    """(labels, the positive one, a note on what was chosen for the reader). `golds` are the distinct labels of the files;
    `answers`, the distinct predictions, are asked only where the labels are of one class."""
    known = sorted({plain_text(gold) for gold in golds} | set(request.labels) | set(request.aliases))
    if request.labels:
        known = list(request.labels)
    if not known:
        raise DataError(f"column {request.label!r} holds no label at all")
    if len(known) > MOST_LABELS:
        raise DataError(
            f"column {request.label!r} holds {len(known):,} different values: name the column of true labels"
        )
    if request.positive is not None and request.positive not in known:
        known = _with_positive(request, known)
    if len(known) == 1:
        others = sorted({plain_text(answer) for answer in answers} - set(known))
        known = sorted([known[0], others[0] if len(others) == 1 else f"not {known[0]}"])
    if request.positive is not None or len(known) > 2:
        return known, request.positive, ""
    positive = next((name for name in known if name.casefold() in _POSITIVE), known[0])
    return known, positive, f"{positive!r} was taken as the positive label: choose with --positive"


def _with_positive(request: Request, known: list[str]) -> list[str]:
    """A positive label that no record has is fine where all records are of one class; else it is a slip."""
    assert request.positive is not None
    if len(known) > 1:
        hint = did_you_mean(request.positive, known)
        raise InputError(f"--positive {request.positive!r} is not in column {request.label!r}{hint}")
    return sorted([*known, request.positive])


def read_aliases(path: Path) -> dict[str, list[str]]:
    """A JSON or YAML file {label: [further spellings]}."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        value: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"--alias {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"--alias {path}: not readable: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(value, dict):
        raise InputError(f"--alias {path}: expected {{label: [spelling, ...]}}, found {type(value).__name__}")
    return {str(label): _spellings(path, label, found) for label, found in value.items()}


def _spellings(path: Path, label: Any, found: Any) -> list[str]:
    if isinstance(found, str):
        return [found]
    if isinstance(found, list) and all(isinstance(one, str | int | float) for one in found):
        return [str(one) for one in found]
    raise InputError(f"--alias {path}: {label!r}: expected a spelling or a list of them, found {found!r}")
