"""Preset, file, cluster profile and --set laid over one another, each value with the place it came from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftlib.config.overrides import read_setting
from sftlib.config.problems import ConfigError, Problem, did_you_mean
from sftlib.config.yamlfile import read_document
from sftlib.paths import project_dir

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)


@dataclass
class Layers:
    """The merged values and where each came from."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, key: str) -> str:
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, "")

    def lay(self, values: dict[str, Any], place_of: Any) -> None:
        """Lay `values` over what is there: sections merge, everything else is replaced."""
        for key, value in flatten(values):
            set_key(self.values, key, value)
            for known in [known for known in self.places if known.startswith(f"{key}.")]:
                del self.places[known]
            self.places[key] = place_of(key)


# Sections whose values are free mappings: laid over as a whole, never merged key by key.
_WHOLE = {"sweep.grid", "sweep.random", "task.verbalizers", "task.aliases", "cluster.environment"}


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"a": {"b": 1}}` -> `("a.b", 1)`; free mappings and empty ones are leaves."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in _WHOLE and not key.endswith(".where"):
            yield from flatten(value, f"{key}.")
        else:
            yield key, value


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making the sections on the way."""
    *parents, last = key.split(".")
    for parent in parents:
        nested = values.get(parent)
        if not isinstance(nested, dict):
            # `data: {train: file}` is short for {path: file}; a dotted key below it keeps the path.
            values[parent] = nested = {"path": nested} if isinstance(nested, str) else {}
        values = nested
    values[last] = value


def parse_set(item: str) -> tuple[str, Any]:
    """The key of a `--set` item and its value, read as the key's type asks for."""
    key, equals, text = item.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            [Problem("", f"expected KEY=VALUE, such as train.learning_rate=1e-4, got {item!r}", place="--set")]
        )
    return key.strip(), read_setting(key, text)


def collect(path: Path, overrides: list[str], profile: str | None) -> Layers:
    """All layers of an experiment in their order: preset, file, cluster profile, --set."""
    document = read_document(path)
    settings = [parse_set(item) for item in overrides]
    chosen = dict(settings)
    layers = Layers()
    preset = chosen.get("preset", document.values.get("preset", "default"))
    _lay_named(layers, str(preset), "configs", "presets", "preset", near=path.parent)
    layers.lay(document.values, document.place)
    named = profile or chosen.get("cluster.profile") or (document.values.get("cluster") or {}).get("profile")
    named = named or ("slurm" if shutil.which("sbatch") else "local")
    _lay_profile(layers, str(named), near=path.parent)
    for key, value in settings:
        layers.lay(_nested(key, value), lambda key: "--set")
    layers.values = _substitute(layers, layers.values, "")
    return layers


def collect_profile(name: str, near: Path) -> Layers:
    """A cluster profile alone."""
    layers = Layers()
    _lay_profile(layers, name, near)
    layers.values = _substitute(layers, layers.values, "")
    return layers


def _lay_profile(layers: Layers, name: str, near: Path) -> None:
    _lay_named(layers, name, "slurm", "profiles", "cluster.profile", near=near)
    layers.lay({"cluster": {"profile": name}}, lambda key: "cluster profile")


def _nested(key: str, value: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    set_key(values, key, value)
    return values


def _lay_named(layers: Layers, name: str, folder: str, kind: str, key: str, near: Path) -> None:
    """Lay a preset or profile over the values: by name from the project's folder, or by path."""
    path = find_named(name, folder, kind, near)
    if path is None:
        known = names_in(folder, kind)
        message = f"there is no such file and no such name{did_you_mean(name, known)}"
        layers.problems.append(Problem(key, message, name, "--cluster or file" if kind == "profiles" else "file"))
        return
    document = read_document(path)
    layers.lay({k: v for k, v in document.values.items() if k != "description"}, document.place)


def find_named(name: str, folder: str, kind: str, near: Path) -> Path | None:
    candidates = [project_dir(folder) / kind / f"{name}.yaml", near / name, Path(name)]
    return next((path for path in candidates if path.is_file()), None)


def names_in(folder: str, kind: str) -> list[str]:
    return sorted(path.stem for path in (project_dir(folder) / kind).glob("*.yaml"))


def _substitute(layers: Layers, value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _substitute(layers, item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list):
        return [_substitute(layers, item, key) for item in value]
    if isinstance(value, str) and "${" in value:
        return _VARIABLE.sub(lambda match: _variable(layers, match, key), value)
    return value


def _variable(layers: Layers, match: re.Match[str], key: str) -> str:
    name, default = match.group(1), match.group(2)
    if _SECRET.search(name):
        return match.group(0)  # stays a reference in everything that is written; see reveal()
    value = os.environ.get(name, default)
    if value is None:
        message = f"the environment has no {name}: export it, or write ${{{name}:-DEFAULT}}"
        layers.problems.append(Problem(key, message, match.group(0), layers.place(key)))
        return match.group(0)
    return value


def reveal(text: str) -> str:
    """Replace references to secrets, at the moment of use; the result must not be written anywhere."""
    return _VARIABLE.sub(lambda match: os.environ.get(match.group(1), match.group(2) or ""), text)
