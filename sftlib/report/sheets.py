"""metrics.csv and bias.csv: metrics.json comes in, rows go out. An undefined rate is an empty cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

# What the CSV files of the record are called there. Columns that it does not have are left out.
_RECORD_METRICS = {
    "cell": "strategy", "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "f1_score",
    "tp": "true_positive", "tn": "true_negative", "fp": "false_positive", "fn": "false_negative",
}  # fmt: skip
_RECORD_BIAS = {
    "cell": "strategy", "group": "persona_tag", "n": "sample_count", "fpr": "false_positive_rate",
    "fnr": "false_negative_rate", "tp": "true_positive", "tn": "true_negative", "fp": "false_positive",
    "fn": "false_negative",
}  # fmt: skip
Row = dict[str, Any]


def metrics_csv(metrics: dict[str, Any], columns: str = "sftlib") -> str:
    """One row for each cell and scope: all records, each group, each stratum, each group within a stratum."""
    rows = [row for name, cell in metrics["cells"].items() for row in _scopes(name, cell)]
    if columns == "record":
        rows = [row for row in rows if row["scope"] == "overall"]
        return _table(rows, _RECORD_METRICS)
    return _table(rows)


def bias_csv(metrics: dict[str, Any], columns: str = "sftlib") -> str:
    """One row for each cell, group column and group."""
    rows = [row for name, cell in metrics["cells"].items() for row in _groups(name, cell)]
    return _table(rows, _RECORD_BIAS) if columns == "record" else _table(rows)


def _scopes(name: str, cell: dict[str, Any]) -> Iterator[Row]:
    def row(scope: str, column: str, value: str, stratum: str, figures: Row) -> Row:
        about = {"cell": name, "scope": scope, "column": column, "value": value, "stratum": stratum}
        return about | _plain(figures)

    scores = {key: value for key, value in _plain(cell["scores"] or {}).items() if key not in ("n", "positive")}
    hybrid = {"hybrid_score": cell["hybrid"]["score"]} if cell.get("hybrid") else {}
    yield row("overall", "", "", "", cell["overall"]) | scores | hybrid
    for column, groups in cell["groups"].items():
        for value, figures in groups.items():
            yield row("group", column, value, "", figures)
    for key, strata in cell["stratified"].items():
        if not key.startswith("group_by_"):
            for value, figures in strata.items():
                yield row(key, "", "", value, figures)
            continue
        for column, by_stratum in strata.items():
            for stratum, groups in by_stratum.items():
                for value, figures in groups.items():
                    yield row(key, column, value, stratum, figures)


def _groups(name: str, cell: dict[str, Any]) -> Iterator[Row]:
    for column, groups in cell["groups"].items():
        gaps = cell["disparities"].get(column) or {}
        aucs = ((cell["scores"] or {}).get("bias_aucs") or {}).get(column, {}).get("groups", {})
        even = gaps.get("standardised") or {}
        for group, figures in groups.items():
            row = {"cell": name, "column": column, "group": group, **_plain(figures)}
            row["is_small"] = group in gaps.get("small_groups", {})
            row["is_reference"] = group == gaps.get("reference")
            for rate in ("fpr", "fnr"):
                row[f"{rate}_standardised"] = (even.get(rate, {}).get("groups", {}).get(group) or {}).get(
                    "standardised"
                )
            row |= {f"{rate}_ratio": value for rate, value in gaps.get("ratios", {}).get(group, {}).items()}
            row |= {f"{which}_auc": value for which, value in aucs.get(group, {}).items()}
            yield row


def _plain(figures: Row) -> Row:
    """Numbers and texts only; tables within stay in metrics.json."""
    flat: Row = {}
    for key, value in figures.items():
        if key.startswith("length_") and isinstance(value, dict):
            flat |= {f"{key}_{part}": number for part, number in value.items()}
        elif not isinstance(value, dict | list):
            flat[key] = value
    return flat


def _table(rows: Sequence[Row], names: dict[str, str] | None = None) -> str:
    chosen = names or {key: key for row in rows for key in row}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(chosen.values())
    writer.writerows([_cell(row.get(key)) for key in chosen] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
