"""What a sweep says about its parameters: cells come in, each one's score and worst group, and how much seeds alone move
them, go out. A difference that another seed would make is no finding about a parameter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

SEEDS = ("train.seed", "data.seed", "predict.seed")
WORST = "worst_fpr"


def sweep_figures(cells: Mapping[str, dict[str, Any]], headline: str) -> dict[str, Any] | None:
    """None where fewer than two cells were trained."""
    trained = {name: cell for name, cell in cells.items() if not cell["is_baseline"]}
    if len(trained) < 2:
        return None
    about = {name: _cell(cell, headline) for name, cell in trained.items()}
    settings = _settings(trained, about, headline)
    return {
        "metric": headline,
        "parameters": _parameters(trained),
        "cells": about,
        "settings": settings,
        "seed_spread": {key: _pooled(settings, key) for key in (headline, WORST)},
    }


def _cell(cell: dict[str, Any], headline: str) -> dict[str, Any]:
    """The score, and the group with the highest FPR among all groupings."""
    known = [
        (m["fpr"], column, group)
        for column, groups in cell["groups"].items()
        for group, m in groups.items()
        if m.get("fpr") is not None and group in (cell["disparities"].get(column) or {}).get("ratios", {})
    ]
    fpr, column, group = max(known, default=(None, None, None))
    low, high = (cell["overall"].get(f"{headline}_{end}") for end in ("low", "high"))
    bounds = cell["groups"][column][group] if column is not None else {}
    return {
        "values": cell["overrides"], headline: cell["overall"].get(headline), f"{headline}_low": low, f"{headline}_high": high,
        WORST: fpr, f"{WORST}_low": bounds.get("fpr_low"), f"{WORST}_high": bounds.get("fpr_high"),
        "worst_group": {"column": column, "group": group} if column is not None else None,
    }  # fmt: skip


def _parameters(trained: Mapping[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """What was varied, with its values in order; a cell that leaves it at the experiment's own value has null."""
    keys = dict.fromkeys(key for cell in trained.values() for key in cell["overrides"])
    found = {}
    for key in keys:
        values = {json.dumps(cell["overrides"].get(key)): cell["overrides"].get(key) for cell in trained.values()}
        if len(values) > 1:
            found[key] = sorted(values.values(), key=lambda value: (*_rank(value), str(value)))
    return found


def _rank(value: Any) -> tuple[int, float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0 if is_number else 1, float(value) if is_number else 0.0)


def _settings(
    trained: Mapping[str, dict[str, Any]], about: Mapping[str, dict[str, Any]], headline: str
) -> list[dict[str, Any]]:
    """Cells that differ in nothing but a seed, with mean and standard deviation over the seeds."""
    alike: dict[str, list[str]] = {}
    for name, cell in trained.items():
        plain = {key: value for key, value in cell["overrides"].items() if key not in SEEDS}
        alike.setdefault(json.dumps(plain, sort_keys=True), []).append(name)
    return [
        {
            "parameters": json.loads(key),
            "cells": names,
            **{metric: _spread([about[name][metric] for name in names]) for metric in (headline, WORST)},
        }
        for key, names in alike.items()
    ]


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if not known:
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None}
    mean = math.fsum(known) / len(known)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (len(known) - 1)) if len(known) > 1 else None
    return {"n": len(known), "mean": mean, "sd": sd, "min": min(known), "max": max(known)}


def _pooled(settings: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """Standard deviation between seeds, all settings together; null without repeated settings."""
    repeated = [entry[key] for entry in settings if entry[key]["sd"] is not None]
    df = sum(entry["n"] - 1 for entry in repeated)
    if not df:
        return {"sd": None, "df": 0, "settings": 0}
    square = math.fsum((entry["n"] - 1) * entry["sd"] ** 2 for entry in repeated) / df
    return {"sd": math.sqrt(square), "df": df, "settings": len(repeated)}
