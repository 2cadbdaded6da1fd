"""A YAML or JSON file as plain values, with the line of each key; duplicate keys are refused, 1e-4 is a number."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sftlib.config.problems import ConfigError, Problem

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$")


class _Loader(yaml.SafeLoader):
    """Safe, with YAML 1.2's numbers: PyYAML reads `1e-4` as text."""


_Loader.yaml_implicit_resolvers = {
    # YAML 1.1 also reads on/off/yes/no as booleans: a label called `no` must stay text.
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


class _TextLoader(_Loader):
    """Every scalar but null is the text that was written."""


_TextLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] == "tag:yaml.org,2002:null"]
    for first, pairs in _Loader.yaml_implicit_resolvers.items()
}


@dataclass
class Document:
    """What a file says, and where it says it."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)  # dotted key -> line

    def place(self, key: str) -> str:
        """`file:line` of the key, or of the nearest key above it that is written."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.path}:{self.lines[key]}" if key else str(self.path)


def read_document(path: Path) -> Document:
    """Read YAML or JSON (which is YAML); raises ConfigError with the place of the first thing it cannot read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Problem("", "there is no such file", place=str(path))]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem("", f"cannot be read: {error}", place=str(path))]) from None
    return parse_document(path, text)


def parse_document(path: Path, text: str) -> Document:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(
                [Problem("", "is empty: expected an experiment (see configs/experiments)", place=str(path))]
            )
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError([Problem("", "expected keys with values at the top", place=f"{path}:1")])
        lines: dict[str, int] = {}
        problems = _walk(node, "", lines, path)
        if problems:
            raise ConfigError(problems)
        return Document(path, loader.construct_document(node), lines)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([_yaml_problem(path, error)]) from None


def _yaml_problem(path: Path, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    kind = "JSON" if path.suffix == ".json" else "YAML"
    return Problem("", f"not valid {kind}: {getattr(error, 'problem', None) or error}", place=place)


def _walk(node: yaml.MappingNode, prefix: str, lines: dict[str, int], path: Path) -> list[Problem]:
    problems = []
    for key_node, value_node in node.value:
        key = prefix + str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in lines:
            problems.append(Problem(key, f"stands twice; first in line {lines[key]}", place=f"{path}:{line}"))
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode):
            problems += _walk(value_node, f"{key}.", lines, path)
    return problems


def parse_value(text: str, *, as_text: bool = False) -> Any:
    """A value from the command line, read as YAML reads it; `as_text`: digits and dates in it are texts."""
    try:
        loader = (_TextLoader if as_text else _Loader)(text)
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError:
        return text
