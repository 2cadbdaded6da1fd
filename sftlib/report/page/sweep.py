"""The sweep: each parameter against the score and the worst group's FPR, small multiples; and what seeds alone do."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from sftlib.report.page.cell_table import title_of
from sftlib.report.page.markup import Head, cell_name, colour, section, table
from sftlib.report.page.numbers import Numbers, rate, whole
from sftlib.report.sweep_figures import WORST

WIDTH, HEIGHT = 380, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 34
MOST_VALUES = 12  # names under an axis; of a random draw only some are written
LONGEST_VALUE = 14
MOST_WHISKERS = 16
SPREAD = 0.5  # of the room between two values, over which cells of one value stand beside each other


def sweep_section(numbers: Numbers) -> str:
    if not numbers.get("sweep"):
        return ""
    head = numbers.get("sweep", "metric")
    metrics = [head] + (
        [WORST] if any(numbers.get("sweep", "cells", cell, WORST) is not None for cell in _cells(numbers)) else []
    )
    charts = "".join(
        f"<h3>{escape(parameter)}</h3><div class='charts'>{''.join(_chart(numbers, parameter, key) for key in metrics)}</div>"
        for parameter in numbers.get("sweep", "parameters") or {}
    )
    parameters = numbers.get("sweep", "parameters") or {}
    others = (
        "each parameter that was varied; other parameters differ too"
        if len(parameters) > 1
        else "the parameter that was varied"
    )
    are_several = len(_cells(numbers)) > max((len(values) for values in parameters.values()), default=0)
    lead = f"Every cell by {others}." + (" The bar is the mean of a value's cells." if are_several else "")
    return section("sweep", "Sweep", lead, charts, _seeds(numbers, metrics), brief="Sweep")


def _cells(numbers: Numbers) -> list[str]:
    return list(numbers.get("sweep", "cells") or {})


def _title(key: str) -> str:
    return "FPR of the worst group" if key == WORST else title_of(key).text


def _chart(numbers: Numbers, parameter: str, key: str) -> str:
    values = numbers.get("sweep", "parameters", parameter)
    columns: list[list[str]] = [[] for _ in values]
    for cell in _cells(numbers):
        if numbers.get("sweep", "cells", cell, key) is not None:
            columns[values.index(numbers.get("sweep", "cells", cell, "values").get(parameter))].append(cell)
    known = [numbers.get("sweep", "cells", cell, key) for cells in columns for cell in cells]
    if not known:
        return ""
    span = _span([bound for cell in _shown(columns) for bound in _bounds(numbers, cell, key)] + known)
    marks = "".join(_column(numbers, cells, key, place, len(values), span) for place, cells in enumerate(columns))
    words = "; ".join(
        f"{_said(value)}: {', '.join(rate(numbers.get('sweep', 'cells', cell, key)) for cell in cells)}"
        for value, cells in zip(values, columns, strict=True)
        if cells
    )
    label = escape(f"{_title(key)} by {parameter}: {words}")
    return (
        f'<figure><figcaption><b>{escape(_title(key))}</b></figcaption><svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{label}">{_frame(span)}{_names(values)}{marks}</svg></figure>'
    )


def _span(known: list[float]) -> tuple[float, float, float]:
    """(low, high, step): even ticks that hold all values, within 0 and 1."""
    reach = max(known) - min(known)
    step = next((step for step in (0.01, 0.02, 0.05, 0.1) if reach <= 3 * step), 0.25)
    low = max(0.0, math.floor(min(known) / step - 0.2) * step)
    high = min(1.0, math.ceil(max(known) / step + 0.2) * step)
    return low, max(high, low + step), step


def _column(
    numbers: Numbers, cells: list[str], key: str, place: int, count: int, span: tuple[float, float, float]
) -> str:  # fmt: skip
    room = (WIDTH - LEFT - RIGHT) / count
    centre = LEFT + room * (place + 0.5)
    parts = []
    values = [numbers.get("sweep", "cells", cell, key) for cell in cells]
    if len(values) > 1:
        y, half = _y(sum(values) / len(values), span), min(18.0, room * 0.3)
        parts.append(
            f'<line class="mean" x1="{centre - half:.1f}" x2="{centre + half:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    for index, (cell, value) in enumerate(zip(cells, values, strict=True)):
        shift = (index - (len(cells) - 1) / 2) * min(11.0, SPREAD * room / max(1, len(cells) - 1 or 1))
        path = ("sweep", "cells", cell, key)
        parts.append(
            f'<g class="{colour(numbers, cell)}">{_whisker(numbers, cell, key, centre + shift, span, len(_cells(numbers)))}<title>{escape(f"{cell} {rate(value)}")}</title>'
            f'<circle cx="{centre + shift:.1f}" cy="{_y(value, span):.1f}" r="4.5" {numbers.attributes(*path)}/></g>'
        )
    return "".join(parts)


def _shown(columns: list[list[str]]) -> list[str]:
    """The cells that get whiskers: of many they would be a thicket."""
    cells = [cell for column in columns for cell in column]
    return cells if len(cells) <= MOST_WHISKERS else []


def _bounds(numbers: Numbers, cell: str, key: str) -> list[float]:
    found = [numbers.get("sweep", "cells", cell, f"{key}_{end}") for end in ("low", "high")]
    return [] if None in found else found


def _whisker(
    numbers: Numbers, cell: str, key: str, x: float, span: tuple[float, float, float], count: int
) -> str:  # fmt: skip
    bounds = _bounds(numbers, cell, key)
    if count > MOST_WHISKERS or not bounds:
        return ""
    low, high = (_y(bound, span) for bound in bounds)
    return f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'


def _frame(span: tuple[float, float, float]) -> str:
    low, high, step = span
    parts = []
    for place in range(round((high - low) / step) + 1):
        y = _y(low + place * step, span)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{low + place * step:.2f}</text>')
    return "".join(parts)


def _names(values: list[Any]) -> str:
    room, step = (WIDTH - LEFT - RIGHT) / len(values), -(-len(values) // MOST_VALUES)
    letters = max(3, min(LONGEST_VALUE, int(room * step / 6.5)))
    return "".join(
        f'<text x="{LEFT + room * (place + 0.5):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(_cut(_said(value), letters))}</text>'
        for place, value in enumerate(values)
        if place % step == 0
    )


def _said(value: Any) -> str:
    if value is None:
        return "as set"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).rpartition("/")[2]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _y(value: float, span: tuple[float, float, float]) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - span[0]) / (span[1] - span[0]))


def _seeds(numbers: Numbers, metrics: list[str]) -> str:
    """Settings that were trained with several seeds: mean, and how far seeds alone move it."""
    settings = numbers.get("sweep", "settings")
    repeated = [place for place, entry in enumerate(settings) if len(entry["cells"]) > 1]
    if not repeated:
        return ""
    heads = [Head("Setting", is_text=True), Head("Seeds")]
    for key in metrics:
        heads += [Head(_title(key)), Head("± sd", "standard deviation between seeds"), Head("least"), Head("most")]
    rows = []
    for place in repeated:
        row = [
            _setting(numbers, settings[place]),
            numbers.show("sweep", "settings", place, metrics[0], "n", form=whole),
        ]
        for key in metrics:
            row += [numbers.show("sweep", "settings", place, key, name) for name in ("mean", "sd", "min", "max")]
        rows.append(row)
    return "<h3>Seeds</h3>" + table(
        heads, rows, "Settings trained with several seeds: the mean, and what a seed alone changes"
    )


def _setting(numbers: Numbers, entry: dict[str, Any]) -> str:
    words = ", ".join(f"{key.rpartition('.')[2]} {_said(value)}" for key, value in entry["parameters"].items())
    return escape(words) if words else cell_name(numbers, entry["cells"][0])
