"""JSON objects in a model's words: strict JSON, or what differs from it only by single quotes and trailing commas.

The second is a grammar of its own, not a repair: a quote inside a text that is not escaped ends the text, and what then
follows is no comma, so that nothing is guessed.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_WORDS = {"true": True, "false": False, "null": None}
_MAX_DEPTH = 32


class AmbiguousError(ValueError):
    """The object says one thing twice, and differently."""


def whole_object(text: str) -> dict[str, Any] | None:
    """The text as one object; None when it is none. Raises AmbiguousError for a key with two values."""
    for read in (_strict, _lenient):
        found = read(text, 0)
        if found and _SPACE.match(text, found[1]).end() == len(text):  # type: ignore[union-attr]
            return found[0]
    return None


def last_object(text: str) -> dict[str, Any] | None:
    """The last object whose braces balance: of those that end there the longest."""
    end = text.rfind("}")
    while end != -1:
        starts = [match.start() for match in re.finditer(r"\{", text[: end + 1])]
        for read in (_strict, _lenient):
            for start in starts:
                found = read(text[: end + 1], start)
                if found and found[1] == end + 1:
                    return found[0]
        end = text.rfind("}", 0, end)
    return None


def _strict(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    try:
        value, end = json.JSONDecoder(object_pairs_hook=_unique).raw_decode(text, _SPACE.match(text, start).end())  # type: ignore[union-attr]
    except AmbiguousError:
        raise
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _lenient(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    scanner = _Scanner(text, start)
    try:
        value = scanner.value(0)
    except AmbiguousError:
        raise
    except (ValueError, IndexError):
        return None
    return (value, scanner.at) if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and values[key] != value:
            raise AmbiguousError(f"{key!r} is {values[key]!r} and {value!r}")
        values[key] = value
    return values


class _Scanner:
    """JSON with either quote and with a comma before a closing bracket."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        self._skip()
        first = self.text[self.at]
        if first == "{":
            return _unique(self._items("}", lambda: self._pair(depth + 1)))
        if first == "[":
            return self._items("]", lambda: self.value(depth + 1))
        return self._string() if first in "'\"" else self._plain()

    def _items(self, closing: str, item: Any) -> list[Any]:
        self.at += 1
        items: list[Any] = []
        while True:
            self._skip()
            if self.text[self.at] == closing:
                self.at += 1
                return items
            items.append(item())
            self._skip()
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] != closing:
                raise ValueError("expected a comma")

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._string()
        self._skip()
        if self.text[self.at] != ":":
            raise ValueError("expected a colon")
        self.at += 1
        return key, self.value(depth)

    def _string(self) -> str:
        quote, start = self.text[self.at], self.at + 1
        if quote not in "'\"":
            raise ValueError("expected a quote")
        end = start
        while self.text[end] != quote:
            end += 2 if self.text[end] == "\\" else 1
        self.at = end + 1
        inner = self.text[start:end]
        if quote == "'":
            inner = re.sub(r'\\(.)|"', lambda m: m[1] if m[1] == "'" else m[0] if m[1] else '\\"', inner)
        return str(json.loads(f'"{inner}"', strict=False))

    def _plain(self) -> Any:
        match = _PLAIN.match(self.text, self.at)
        if match is None:
            raise ValueError("expected a value")
        self.at = match.end()
        word = match[0]
        return _WORDS[word] if word in _WORDS else float(word)

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
