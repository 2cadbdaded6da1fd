"""An experiment file read to the end: layers, references, types, then checks across keys; all problems at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftlib.config.cells import Cell, expand_cells
from sftlib.config.checks import check_tree
from sftlib.config.layers import Layers, collect
from sftlib.config.overrides import settings
from sftlib.config.problems import ConfigError, Problem, from_pydantic
from sftlib.config.references import resolve
from sftlib.config.tree import SFTConfig


@dataclass(frozen=True)
class Experiment:
    """A valid experiment: the typed tree, and the merged values from which its cells are made."""

    path: Path
    config: SFTConfig
    values: dict[str, Any]
    layers: Layers = field(repr=False)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every combination of the sweep, then the baseline; raises ConfigError when one of them is not valid."""
        return expand_cells(self.config, self.values, self.path.parent, self.layers.place)

    @property
    def trained_cells(self) -> list[Cell]:
        return [cell for cell in self.cells if not cell.is_baseline]


def load_experiment(path: Path, overrides: list[str], profile: str | None = None) -> Experiment:
    """Read, merge, type and check; raises ConfigError that numbers everything found."""
    layers = collect(path, settings(path, overrides), profile)
    values, problems = resolve(layers.values, path.parent)
    placed = [Problem(p.key, p.message, p.value, p.place or layers.place(p.key)) for p in problems]
    config, type_problems = parse(values, layers.place)
    problems = [*layers.problems, *placed, *type_problems]
    # Checks across keys run even when a key has the wrong type: on the rest, with that key at its default.
    faulty = {problem.key for problem in problems}
    if config is not None:
        problems += [
            Problem(p.key, p.message, p.value, layers.place(p.key)) for p in check_tree(config) if p.key not in faulty
        ]
    if problems:
        raise ConfigError(problems)
    assert config is not None
    return Experiment(path, config, values, layers)


def is_experiment(path: Path) -> bool:
    """YAML, or a JSON object with a section `data`; a file of records is a list, or has one."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() in (".yaml", ".yml")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            if stream.read(4096).lstrip()[:1] != "{":
                return False
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and isinstance(value.get("data"), dict)


def parse(values: dict[str, Any], place_of: Any) -> tuple[SFTConfig | None, list[Problem]]:
    """The typed tree, and what kept it from being typed; with problems, a tree that has defaults in their place."""
    try:
        return SFTConfig.model_validate(values), []
    except ValidationError as error:
        problems = from_pydantic(error, SFTConfig, place_of)
        locations = [[str(part) for part in item["loc"]] for item in error.errors(include_url=False)]
    try:
        return SFTConfig.model_validate(_without(values, locations)), problems
    except ValidationError:
        return None, problems


def _without(values: dict[str, Any], locations: list[list[str]]) -> dict[str, Any]:
    """A copy of `values` without the keys at `locations` (as deep as they exist)."""
    result = {k: _without(v, []) if isinstance(v, dict) else v for k, v in values.items()}
    for first, *rest in locations:
        nested = result.get(first)
        if not rest or not isinstance(nested, dict):
            result.pop(first, None)
        elif rest[0] in nested:  # a union names each of its branches: the key may be gone by now
            result[first] = _without(nested, [rest])
    return result
