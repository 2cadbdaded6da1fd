"""Metrics at a threshold that was fitted on validation, beside those of the plain decision."""

from __future__ import annotations

from sftlib.report.page.cell_table import title_of
from sftlib.report.page.markup import Head, cell_name, table
from sftlib.report.page.numbers import Numbers, rate, whole

_KEYS = ("f1", "accuracy", "fpr", "fnr", "selection_rate")

_ORIGINS = {
    None: "the likelier label", "given": "given", "f1": "best F1 on validation", "youden": "best TPR − FPR on validation",
}  # fmt: skip


def decided_table(numbers: Numbers) -> str:
    """A row for each cell and threshold; nothing where no threshold was fitted."""
    rows = []
    for cell in numbers.cells:
        for place, entry in enumerate(numbers.get("cells", cell, "decisions") or []):
            at = ("cells", cell, "decisions", place)
            origin = _ORIGINS.get(entry["objective"], str(entry["objective"]))
            worst = [numbers.show(*at, "overall", key, form=rate) for key in _KEYS]
            used = "✓" if entry["is_used"] else ""
            fitted = numbers.show(*at, "fitted_on", form=whole) if entry["fitted_on"] else ""
            rows.append([cell_name(numbers, cell), origin, numbers.show(*at, "threshold"), fitted, used, *worst])
    if not rows:
        return ""
    heads = [
        Head("Cell", is_text=True), Head("Positive from", is_text=True), Head("Threshold"),
        Head("Fitted on", "validation records"), Head("Used", "the predictions were made with this threshold"),
        *(title_of(key) for key in _KEYS),
    ]  # fmt: skip
    return table(heads, rows, "Decision thresholds, fitted on validation and applied to test")
