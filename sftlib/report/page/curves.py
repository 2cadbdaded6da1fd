"""Training curves: logged steps of every cell as small line charts, one a quantity."""

from __future__ import annotations

import math
from html import escape

from sftlib.metrics.convergence import judge
from sftlib.report.page.group_charts import legend
from sftlib.report.page.markup import colour, section
from sftlib.report.page.numbers import Numbers

WIDTH, HEIGHT = 380, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 30
MOST_POINTS = 400  # a curve of 10^5 steps is thinned to what a screen can show
Curve = list[tuple[float, float]]
_TITLES = {
    "loss": "Training loss",
    "eval_loss": "Validation loss",
    "grad_norm": "Gradient norm",
    "learning_rate": "Learning rate",
}


def curves_section(numbers: Numbers, curves: dict[str, dict[str, Curve]]) -> str:
    """`curves[cell][quantity]` is a list of (step, value)."""
    charts = [
        _chart(numbers, key, curves)
        for key in _TITLES
        if any(len(quantities.get(key, ())) > 1 for quantities in curves.values())
    ]
    cells = [cell for cell in numbers.pictured() if curves.get(cell)]
    content = (
        f'{legend(numbers, cells)}<div class="charts">{"".join(charts)}</div>{_verdicts(curves)}' if charts else ""
    )
    return section("training", "Training", "As logged while training, by optimiser step.", content)


def _verdicts(curves: dict[str, dict[str, Curve]]) -> str:
    """A line a cell: what its curves say, by the statistics of `sft convergence`."""
    items = []
    for cell, found in curves.items():
        if found:
            verdict = judge(found)
            since = f" since step {verdict.since_step:g}" if verdict.since_step is not None else ""
            items.append(
                f"<li><b>{escape(cell)}: {escape(verdict.verdict)}{since}.</b> {escape(verdict.sentence)}</li>"
            )
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _chart(numbers: Numbers, key: str, curves: dict[str, dict[str, Curve]]) -> str:
    thinned = {
        cell: _thin(quantities[key])
        for cell, quantities in curves.items()
        if len(quantities.get(key, ())) > 1 and cell in numbers.pictured()
    }
    shown = {cell: curve for cell, curve in thinned.items() if curve}
    steps = [step for curve in shown.values() for step, _ in curve]
    values = [value for curve in shown.values() for _, value in curve]
    if not steps:
        return ""
    box = (min(steps), max(steps), min(0.0, min(values)), max(values) or 1.0)
    lines = "".join(
        f'<polyline class="path {colour(numbers, cell)}" points="{_points(curve, box)}"><title>{escape(cell)}</title></polyline>'
        for cell, curve in shown.items()
    )
    words = "; ".join(f"{cell} from {curve[0][1]:.4g} to {curve[-1][1]:.4g}" for cell, curve in shown.items())
    return (
        f'<figure><figcaption><b>{_TITLES[key]}</b></figcaption><svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{_TITLES[key]} by step: {words}")}">{_frame(box)}{lines}</svg></figure>'
    )


def _thin(curve: Curve) -> Curve:
    """What can be drawn of it; a loss that was no number is told in words."""
    curve = [point for point in curve if math.isfinite(point[1])]
    if not curve:
        return []
    step = max(1, len(curve) // MOST_POINTS)
    return [*curve[:-1:step], curve[-1]]


def _points(curve: Curve, box: tuple[float, float, float, float]) -> str:
    return " ".join(f"{_x(step, box):.1f},{_y(value, box):.1f}" for step, value in curve)


def _frame(box: tuple[float, float, float, float]) -> str:
    first, last, low, high = box
    parts = []
    for share in (0.0, 0.5, 1.0):
        value, step = low + share * (high - low), first + share * (last - first)
        y, x = _y(value, box), _x(step, box)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>')
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{step:.0f}</text>')
    return "".join(parts)


def _tick(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:.3g}"


def _x(step: float, box: tuple[float, float, float, float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (step - box[0]) / ((box[1] - box[0]) or 1)


def _y(value: float, box: tuple[float, float, float, float]) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - box[2]) / ((box[3] - box[2]) or 1))
