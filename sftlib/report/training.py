"""What is known of a cell's training: summary.json and metrics.jsonl come in, figures, loss curves and findings go out."""

from __future__ import annotations

from typing import Any

from sftlib.config.rundir import Run, read_json
from sftlib.convergence.reading import Curves, metrics_curves
from sftlib.errors import CorruptError
from sftlib.report.findings import UNTRAINED, Finding, rerun_command

_FIGURES = ("seconds", "train_loss", "records", "tokens", "supervised_tokens", "adapter_sha256")


def training_figures(run: Run, cell: str) -> dict[str, Any] | None:
    """The figures of a finished training; None for the baseline and for a cell that was never trained."""
    summary = _summary(run, cell)
    if summary is None:
        return None
    logged = training_curves(run, cell).get("tokens_per_s", [])
    return {**{name: summary.get(name) for name in _FIGURES}, "tokens_per_s": logged[-1][1] if logged else None}


def training_finding(run: Run, cell: str) -> Finding | None:
    """Why a cell does not count as trained. Its weights are not hashed again: shards name the adapter they came from."""
    reason = "" if run.cell(cell).is_baseline else run.why_untrained(cell, deep=False)
    return Finding(UNTRAINED, cell, "training", reason, rerun_command(run.paths.root)) if reason else None


def training_receipt(run: Run, cell: str) -> dict[str, Any]:
    return (_summary(run, cell) or {}).get("receipt") or {}


def training_curves(run: Run, cell: str) -> Curves:
    """(step, value) of each logged quantity."""
    return metrics_curves(run.paths.cell(cell).metrics)


def _summary(run: Run, cell: str) -> dict[str, Any] | None:
    try:
        summary = read_json(run.paths.cell(cell).summary)
    except CorruptError:
        return None
    return summary if isinstance(summary, dict) else None
