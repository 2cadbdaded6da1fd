"""Figures for the page, asked for by their path in metrics.json: nothing can be shown that the file does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

from sftlib.artifacts.progress import clock
from sftlib.report.text_tables import NARROW

Step = str | int
Form = Callable[[Any], str]
UNDEFINED = "–"
MOST_DETAILED, MOST_PICTURED = 10, 8


def key_of(path: tuple[Step, ...]) -> str:
    """`cells.r8.overall.f1`; a dot or backslash inside a name is written `\\.` and `\\\\`."""
    return ".".join(str(step).replace("\\", "\\\\").replace(".", "\\.") for step in path)


def rate(value: Any) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


def short(value: Any) -> str:
    return UNDEFINED if value is None else f"{value:.2f}"


def signed(value: Any) -> str:
    return UNDEFINED if value is None else f"{value:+.3f}".replace("-", "−")


def whole(value: Any) -> str:
    return UNDEFINED if value is None else f"{round(value):,}"


def percent(value: Any) -> str:
    return UNDEFINED if value is None else f"{100 * value:.1f}%"


def chance(value: Any) -> str:
    """A p-value: never 0."""
    if value is None:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(value: Any) -> str:
    """Seconds as h:mm:ss or m:ss."""
    return UNDEFINED if value is None else clock(value)


def brief(value: Any) -> str:
    """The first digits of a hash."""
    return UNDEFINED if value is None else str(value)[:12]


def plain(value: Any) -> str:
    return UNDEFINED if value is None else str(value)


class Numbers:
    """metrics.json, and spans that carry where a figure stands there and its full precision."""

    def __init__(self, metrics: dict[str, Any]) -> None:
        self.metrics = metrics

    def get(self, *path: Step) -> Any:
        """The value at `path`; None where there is none."""
        value: Any = self.metrics
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def attributes(self, *path: Step) -> str:
        """data-key and data-value, for a mark in a picture as for a number in the text."""
        value = json.dumps(self.get(*path), ensure_ascii=False)
        return f'data-key="{escape(key_of(path))}" data-value="{escape(value)}"'

    def show(self, *path: Step, form: Form = rate) -> str:
        """The figure as a reader sees it, marked; a dash where the file has nothing at `path`."""
        if path[-1] not in (self.get(*path[:-1]) or ()) and not isinstance(path[-1], int):
            return f'<span class="num">{UNDEFINED}</span>'
        value = self.get(*path)
        hint = ' title="undefined, or not tested"' if value is None else ""
        return f'<span class="num" {self.attributes(*path)}{hint}>{escape(form(value))}</span>'

    def bounds(self, *path: Step) -> str:
        """The interval that stands beside a figure as NAME_low and NAME_high; nothing where it is undefined."""
        *place, name = path
        low, high = (*place, f"{name}_low"), (*place, f"{name}_high")
        if self.get(*low) is None or self.get(*high) is None:
            return ""
        form = short if self.get(*high) - self.get(*low) >= NARROW else rate
        return f'<span class="bounds">{self.show(*low, form=form)}–{self.show(*high, form=form)}</span>'

    def ranged(self, *path: Step, form: Form = rate) -> str:
        return f"{self.show(*path, form=form)} {self.bounds(*path)}".rstrip()

    @property
    def cells(self) -> list[str]:
        return list(self.metrics["cells"])

    @property
    def is_run(self) -> bool:
        """Whether shards of a run were merged; else a table was judged, or two sides were compared."""
        return self.metrics["run"].get("kind", "run") == "run"

    @property
    def is_binary(self) -> bool:
        return len(self.metrics["run"]["labels"]) == 2

    @property
    def headline(self) -> str:
        """The metric that cells are ranked by."""
        if self.metrics["run"]["task"] == "generation":
            return "exact_match"
        return "f1" if self.is_binary else "macro_f1"

    def is_baseline(self, cell: str) -> bool:
        return bool(self.get("cells", cell, "is_baseline"))

    @property
    def detailed(self) -> list[str]:
        """The cells that get tables by group and stratum: all where they are few, else those that pictures show. Fifty
        cells with a hundred groups would be a page of 50 MB."""
        return self.cells if len(self.cells) <= MOST_DETAILED else self.pictured()

    def pictured(self) -> list[str]:
        """The cells that a picture has room for: the best ones and the baselines, in the run's order."""
        ranked = sorted(
            self.cells, key=lambda c: (not self.is_baseline(c), self.get("cells", c, "overall", self.headline) or 0)
        )
        chosen = set([cell for cell in ranked if self.is_baseline(cell)][:1] + ranked[-(MOST_PICTURED - 1) :])
        return [cell for cell in self.cells if cell in chosen]
