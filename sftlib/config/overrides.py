"""`--set` items: each value read as its key's type asks for, and `key=a,b` as a sweep, an axis of `sweep.grid` beside those
of the experiment file."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sftlib.config.problems import ConfigError, annotation_at
from sftlib.config.tree import SFTConfig
from sftlib.config.yamlfile import parse_value, read_document

_GRID = "sweep.grid"
_OPEN, _CLOSE, _QUOTES = "[{(", "]})", "'\""


def settings(path: Path, items: Sequence[str]) -> list[str]:
    """The --set items as the configuration reads them, with one `sweep.grid` in place of all that sweep."""
    if not items:
        return []
    plain = [item for item in items if not _is_sweep(item)]
    swept = dict(_axis(item) for item in items if _is_sweep(item))
    fixed = {item.partition("=")[0].strip() for item in plain}
    before = _grid(path, plain)
    # A value fixed on the command line replaces the file's axis: the axis would silently win over it.
    grid = {key: values for key, values in before.items() if key not in fixed} | swept
    if grid == before:
        return plain
    return [*(item for item in plain if item.partition("=")[0].strip() != _GRID), f"{_GRID}={json.dumps(grid)}"]


def _grid(path: Path, plain: Sequence[str]) -> dict[str, Any]:
    given: Any = None
    for item in plain:
        key, _, text = item.partition("=")
        given = parse_value(text) if key.strip() == _GRID else given
    if given is None:
        try:
            given = (read_document(path).values.get("sweep") or {}).get("grid")
        except (ConfigError, AttributeError):  # told when the experiment is read, with all else that is wrong
            return {}
    return given if isinstance(given, dict) else {}


def _is_sweep(item: str) -> bool:
    """Several values for a key inside a section; `name` and `description` are texts, commas and all."""
    key, _, text = item.partition("=")
    return "." in key and len(split_values(text)) > 1


def _axis(item: str) -> tuple[str, list[Any]]:
    key, _, text = item.partition("=")
    return key.strip(), [read_setting(key, value) for value in split_values(text)]


def read_setting(key: str, text: str) -> Any:
    """The value of a `--set key=text`. Where only a text can stand it is what was typed: 20240101, 1e5, `{text} #1: why?`."""
    annotation, written = annotation_at(key.strip().split("."), SFTConfig), text.strip()
    if not _is_text(annotation):
        return parse_value(text, as_text=_holds_texts(annotation))
    value = parse_value(text)
    if value is None and type(None) in typing.get_args(annotation):
        return None
    return value if written[:1] in tuple(_QUOTES) and isinstance(value, str) else written


def _is_text(annotation: Any) -> bool:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return set(typing.get_args(annotation) if is_union else (annotation,)) <= {str, type(None)}


def _holds_texts(annotation: Any) -> bool:
    """A text, or a list or mapping of texts."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return all(isinstance(part, str) for part in parts)
    if parts:
        return all(part is type(None) or _holds_texts(part) for part in parts)
    return annotation is str


def split_values(text: str) -> list[str]:
    """Split at commas outside of quotes and brackets; a comma before a space or at the end belongs to a sentence."""
    parts, depth, quote = [""], 0, ""
    for letter, following in zip(text, f"{text[1:]} ", strict=False):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES and not parts[-1].strip():  # a quote inside a word is an apostrophe
            quote = letter
        elif letter in _OPEN + _CLOSE:
            depth += 1 if letter in _OPEN else -1
        if letter == "," and not quote and depth == 0 and not following.isspace():
            parts.append("")
        else:
            parts[-1] += letter
    return parts
