"""A report page read back: every marked number with its key, its full value and the text that a reader sees."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any


@dataclass
class Marked:
    """One element with data-key."""

    tag: str
    key: list[str]
    value: Any
    text: str = ""


class PageReader(HTMLParser):
    """Collects marked elements, addresses that the page refers to, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.marked: list[Marked] = []
        self.addresses: list[str] = []
        self.text = ""
        self._open: list[Marked | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.addresses += [known[name] or "" for name in ("src", "href", "srcset", "data", "action") if name in known]
        entry = None
        if "data-key" in known:
            entry = Marked(tag, path_of(known["data-key"] or ""), json.loads(known["data-value"] or ""))
            self.marked.append(entry)
        if tag not in ("meta", "link", "br", "input", "img"):
            self._open.append(entry)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and (entry := self._open[-1]):
            entry.text += data


def read_page(html: str) -> PageReader:
    reader = PageReader()
    reader.feed(html)
    return reader


def path_of(key: str) -> list[str]:
    """The inverse of numbers.key_of: steps between dots, a backslash before a dot or backslash that is part of a name."""
    return [re.sub(r"\\(.)", r"\1", step) for step in re.findall(r"(?:^|\.)((?:\\.|[^.\\])*)", key)]


def at(metrics: Any, path: list[str]) -> Any:
    for step in path:
        metrics = metrics[int(step)] if isinstance(metrics, list) else metrics[step]
    return metrics


def says(text: str, value: Any) -> bool:
    """Whether what a reader sees is the value, rounded."""
    if value is None:
        return text == "–"
    if isinstance(value, str):
        return value.startswith(text) and bool(text)
    if text == "< 0.001":
        return value < 0.001
    if re.fullmatch(r"[\d:]+:\d\d", text):
        parts = [int(part) for part in text.split(":")]
        return sum(part * 60**power for power, part in enumerate(reversed(parts))) == round(value)
    shown = text.replace("−", "-").replace(",", "").rstrip("%")
    digits = len(shown.partition(".")[2])
    expected = 100 * value if text.endswith("%") else value
    return abs(float(shown) - expected) <= 0.5000001 * 10**-digits
