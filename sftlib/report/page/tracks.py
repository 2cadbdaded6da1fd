"""Dots with whiskers on a horizontal axis. Positions are percentages, so that a track fills whatever width it gets and
its text keeps its size on a telephone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from sftlib.report.page.numbers import Numbers, Step, rate

LANE, EDGE = 14, 5  # pixels from one dot to the next below it, and above the first and below the last
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Dot:
    """One figure with its interval; `low` and `high` default to NAME_low and NAME_high beside it."""

    label: str
    colour: str
    path: tuple[Step, ...]
    low: tuple[Step, ...] = ()
    high: tuple[Step, ...] = ()
    is_hollow: bool = False

    def bounds(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        *place, name = self.path
        return self.low or (*place, f"{name}_low"), self.high or (*place, f"{name}_high")


def track(
    numbers: Numbers,
    dots: Sequence[Dot],
    what: str,
    span: tuple[float, float] = (0.0, 1.0),
    ticks: Sequence[float] = TICKS,
) -> str:
    """One row of a picture: its dots below each other on the common axis."""
    height = LANE * max(1, len(dots)) + 2 * EDGE
    grid = "".join(
        f'<line class="{"grid zero" if t == 0 > span[0] else "grid"}" x1="{_x(t, span)}" x2="{_x(t, span)}" y1="0" y2="{height}"/>'
        for t in ticks
    )
    marks = "".join(_dot(numbers, dot, EDGE + LANE * (place + 0.5), span) for place, dot in enumerate(dots))
    words = "; ".join(_words(numbers, dot) for dot in dots)
    return (
        f'<svg class="track" width="100%" height="{height}" role="img" aria-label="{escape(f"{what}: {words}")}">'
        f"{grid}{marks}</svg>"
    )


def span_of(values: Iterable[float | None]) -> tuple[float, float]:
    """The smallest of a few even ranges around zero that holds all values."""
    reach = max((abs(value) for value in values if value is not None), default=0.0)
    half = next((half for half in (0.1, 0.25, 0.5) if reach <= half), 1.0)
    return -half, half


def ticks_of(span: tuple[float, float]) -> tuple[float, ...]:
    return span[0], span[0] / 2, 0.0, span[1] / 2, span[1]


def axis() -> str:
    """The tick labels under the tracks of rates."""
    labels = "".join(f'<span style="left:{_x(tick, (0.0, 1.0))}">{tick:g}</span>' for tick in TICKS)
    return f'<div class="axis" aria-hidden="true">{labels}</div>'


def _dot(numbers: Numbers, dot: Dot, y: float, span: tuple[float, float]) -> str:
    value = numbers.get(*dot.path)
    if value is None:
        return f'<text class="none" x="0" y="{y + 4}">undefined</text>'
    low, high = (numbers.get(*path) for path in dot.bounds())
    whisker = ""
    if low is not None and high is not None:
        ends = f'x1="{_x(low, span)}" x2="{_x(high, span)}"'
        whisker = f'<line class="whisker" {ends} y1="{y}" y2="{y}"/>'
    hollow = " hollow" if dot.is_hollow else ""
    return (
        f'<g class="{dot.colour}{hollow}"><title>{escape(_words(numbers, dot))}</title>{whisker}'
        f'<circle cx="{_x(value, span)}" cy="{y}" r="4" {numbers.attributes(*dot.path)}/></g>'
    )


def _words(numbers: Numbers, dot: Dot) -> str:
    value = numbers.get(*dot.path)
    if value is None:
        return f"{dot.label} undefined"
    low, high = (numbers.get(*path) for path in dot.bounds())
    bounds = f" ({rate(low)} to {rate(high)})" if low is not None and high is not None else ""
    return f"{dot.label} {rate(value)}{bounds}"


def _x(value: float, span: tuple[float, float]) -> str:
    share = (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])
    return f"{100 * share:.2f}%"
