"""The curves of one training as a PNG, with what the verdict rests on marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sftlib.artifacts.atomic import replacing
from sftlib.artifacts.progress import say
from sftlib.convergence.reading import Curves, metrics_curves
from sftlib.metrics.convergence import Verdict, judge, smoothed
from sftlib.paths import CellPaths

_INK, _LINE, _FAULT, _GOOD = "#1d2733", "#1d6fb8", "#b02a20", "#b9530f"


def draw_logged(paths: CellPaths) -> None:
    """convergence.png of a cell that has logged something since its picture was drawn: at the end of its training, and by
    a merge where the training did not come so far."""
    if _is_current(paths):  # before the curves are read: a merge has read those of every cell already
        return
    curves = metrics_curves(paths.metrics)
    if not curves:
        return
    try:
        draw(curves, judge(curves), paths.name, paths.convergence)
    except ModuleNotFoundError as error:  # the figures themselves need no matplotlib
        say(f"no {paths.convergence.name}: {error.name} is not installed here")


def _is_current(paths: CellPaths) -> bool:
    drawn, logged = paths.convergence, paths.metrics
    return drawn.exists() and logged.exists() and drawn.stat().st_mtime >= logged.stat().st_mtime


def draw(curves: Curves, verdict: Verdict, title: str, path: Path) -> None:
    """Write the picture whole or not at all; needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [name for name in ("loss", "grad_norm", "learning_rate") if curves.get(name)]
    if curves.get("eval_loss") and "loss" not in panels:
        panels.insert(0, "loss")
    figure = Figure(figsize=(9, 1.2 + 2.4 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        _PANELS[name](axes, curves, verdict)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[-1].set_xlabel("optimiser step")
    since = f" since step {verdict.since_step:g}" if verdict.since_step is not None else ""
    figure.suptitle(f"{title}: {verdict.verdict}{since}", color=_INK, fontsize=13)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _loss(axes: Any, curves: Curves, verdict: Verdict) -> None:
    if points := curves.get("loss"):
        steps, values = np.array(points).T
        axes.plot(steps, values, color=_LINE, alpha=0.3, linewidth=0.8)
        if np.isfinite(values).all():
            axes.plot(steps, smoothed(values), color=_LINE, linewidth=1.8, label="training loss")
    if points := curves.get("eval_loss"):
        steps, values = np.array(points).T
        axes.plot(steps, values, color=_GOOD, linewidth=1.8, marker="o", markersize=3, label="evaluation loss")
    if verdict.since_step is not None:
        axes.axvline(verdict.since_step, color=_FAULT, linestyle="--", linewidth=1.2, label=verdict.verdict)
    axes.set_ylabel("loss")
    axes.legend(frameon=False)


def _norm(axes: Any, curves: Curves, verdict: Verdict) -> None:
    steps, values = np.array(curves["grad_norm"]).T
    axes.plot(steps, values, color=_LINE, linewidth=1.0)
    is_spike = np.isin(steps, verdict.spikes)
    axes.plot(steps[is_spike], values[is_spike], "o", color=_FAULT, markersize=4)
    if np.isfinite(values).all() and (values > 0).all():
        axes.set_yscale("log")
    axes.set_ylabel("gradient norm")


def _rate(axes: Any, curves: Curves, verdict: Verdict) -> None:
    steps, values = np.array(curves["learning_rate"]).T
    axes.plot(steps, values, color=_LINE, linewidth=1.4)
    axes.set_ylabel("learning rate")


_PANELS = {"loss": _loss, "grad_norm": _norm, "learning_rate": _rate}
