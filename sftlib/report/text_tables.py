"""Numbers and tables for a terminal, 100 columns wide: values come in, lines go out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 100
NARROW = 0.02  # below this width two digits would show an interval as a point
SHORTEST = 8  # letters of a name that is cut so that the figures beside it fit


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def ranged(m: dict[str, Any], key: str) -> str:
    """`0.615 [.58-.65]`, with a third digit where two would show no width."""
    low, high = m.get(f"{key}_low"), m.get(f"{key}_high")
    if low is None or high is None:
        return number(m.get(key))
    digits = 2 if high - low >= NARROW else 3
    return f"{number(m.get(key))} [{_bound(low, digits)}-{_bound(high, digits)}]"


def _bound(value: float, digits: int) -> str:
    """As many letters for each: `.58`, and `1.0`, so that intervals stand below each other."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0") else text[: digits + 1]


def chance(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first `texts` columns to the left, cut where the figures would not fit into WIDTH; the rest to the right."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH and max(widths[:texts]) > SHORTEST:
        widths[widths.index(max(widths[:texts]))] -= 1
    return "\n".join(_line(row, widths, texts) for row in [header, *rows])


def _line(row: Sequence[str], widths: Sequence[int], texts: int) -> str:
    cells = []
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        cut = cell if len(cell) <= width else cell[: width - 1] + "~"
        cells.append(cut.ljust(width) if place < texts else cut.rjust(width))
    return "  ".join(cells).rstrip()


def wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False)
