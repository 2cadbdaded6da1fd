"""metrics.json as text: figures come in, lines go out. An object that holds no other stands on one line, so that a reader finds
a group's figures side by side; indented entry by entry, those of a large sweep were half spaces and took minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import replacing

_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # NaN is refused: JSON has none
_STEP = "  "


def write_figures(target: Path, value: Any) -> None:
    """The file whole or not at all, a line at a time."""
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(_lines(value, "", ""))


def figures_text(value: Any) -> str:
    """What write_figures writes."""
    return "".join(_lines(value, "", "")).rstrip("\n")


def _lines(value: Any, indent: str, end: str) -> Iterator[str]:
    """The value, its first line not indented: what it belongs to stands before it."""
    is_object = isinstance(value, dict)
    inner = value.values() if is_object else value if isinstance(value, list | tuple) else ()
    if not any(isinstance(entry, dict | list | tuple) for entry in inner):
        yield _ENCODE(value) + end + "\n"
        return
    yield "{\n" if is_object else "[\n"
    last = len(value) - 1
    for place, entry in enumerate(value.items() if is_object else value):
        key, entry = entry if is_object else (None, entry)
        yield indent + _STEP + (f"{_ENCODE(key)}: " if is_object else "")
        yield from _lines(entry, indent + _STEP, "," if place < last else "")
    yield indent + ("}" if is_object else "]") + end + "\n"
