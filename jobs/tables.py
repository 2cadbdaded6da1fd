"""Aligned text: columns, numbers, durations. Comes in as rows of strings, goes out as lines."""

from __future__ import annotations

from collections.abc import Sequence

from sftlib.artifacts.progress import clock

GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "", indent: str = "  ") -> list[str]:
    """Lines of equal columns; `align` has `<` or `>` a column, `<` where it is too short."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    align = align.ljust(len(header), "<")
    return [
        indent + GAP.join(f"{text:{align[c]}{widths[c]}}" for c, text in enumerate(line)).rstrip() for line in lines
    ]


def pairs(items: Sequence[tuple[str, str]]) -> list[str]:
    """`name  value` lines, the values in one column; a continued value has an empty name."""
    width = max(len(name) for name, _ in items)
    return [f"{name:<{width}}{GAP}{value}".rstrip() for name, value in items]


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def number(value: int) -> str:
    return f"{value:,}"


def rate(value: float | None) -> str:
    """A rate without its leading zero; `-` where it is not defined, which is not the same as 0."""
    return "-" if value is None else f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """As a clock shows it; nothing where it is not known."""
    return "" if seconds is None else clock(seconds)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown(value: object) -> str:
    """A configuration value as one would write it."""
    if isinstance(value, list):
        return f"[{', '.join(shown(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
