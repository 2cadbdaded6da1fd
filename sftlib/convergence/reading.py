"""Curves out of metrics.jsonl, trainer_state.json (of any Hugging Face trainer) or TensorBoard's event files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sftlib.errors import DataError, InputError

CURVES = ("loss", "eval_loss", "grad_norm", "learning_rate", "tokens_per_s")
Curves = dict[str, list[tuple[float, float]]]
_TAGS = {"lr": "learning_rate", "gradient_norm": "grad_norm", "val_loss": "eval_loss", "validation_loss": "eval_loss"}


def read_curves(path: Path) -> Curves:
    """By what the path is; raises where it holds no curve."""
    if path.is_dir():
        state = path / "trainer_state.json"
        curves = _trainer_state(state) if state.exists() else _tensorboard(path)
    elif path.name.startswith("events.out.tfevents"):
        curves = _tensorboard(path)
    elif not path.exists():
        raise InputError(
            f"{path} does not exist: give a run, metrics.jsonl, trainer_state.json or a TensorBoard folder"
        )
    elif path.suffix == ".json":
        curves = _trainer_state(path)
    else:
        curves = metrics_curves(path)
    if not curves:
        raise DataError(f"{path} holds none of the curves {', '.join(CURVES)}")
    return curves


def metrics_curves(path: Path) -> Curves:
    """Our own log, a JSON object a line; a line that a kill cut short is skipped."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return _collected(_loaded(lines))


def _loaded(lines: Iterable[str]) -> Iterable[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _trainer_state(path: Path) -> Curves:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not readable as JSON: {error}") from None
    history = state.get("log_history") if isinstance(state, dict) else state
    if not isinstance(history, list):
        raise DataError(f"{path} has no log_history: expected a trainer_state.json")
    return _collected(history)


def _collected(entries: Iterable[Any]) -> Curves:
    curves: Curves = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not _is_number(entry.get("step")):
            continue
        for name in CURVES:
            value = entry.get(name, "")
            if value is None and name.endswith("loss"):
                value = math.nan  # JSON has no word for it
            if _is_number(value):
                curves.setdefault(name, []).append((float(entry["step"]), float(value)))
    return curves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tensorboard(path: Path) -> Curves:
    """Scalars by the last part of their tag; `eval/loss` is the evaluation loss."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = [path] if path.is_file() else sorted({file.parent for file in path.rglob("events.out.tfevents*")})
    if not folders:
        raise DataError(
            f"{path} holds no TensorBoard events (events.out.tfevents*), trainer_state.json or metrics.jsonl"
        )
    points: dict[str, dict[float, float]] = {}
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if name := _name_of(tag):
                points.setdefault(name, {}).update({float(e.step): float(e.value) for e in events.Scalars(tag)})
    return {name: sorted(values.items()) for name, values in points.items()}


def _name_of(tag: str) -> str | None:
    first, _, last = tag.lower().rpartition("/")
    name = _TAGS.get(last, last)
    if name == "loss" and first.split("/")[0] in ("eval", "val", "validation", "test"):
        return "eval_loss"
    return name if name in CURVES else None
