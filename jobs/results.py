"""The end of a run on half a page: each cell's score with its interval, error rates by group, time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.attempts import all_attempts
from jobs.tables import duration, rate, table
from sftlib.config.rundir import Run, read_json

_SCORES = {"f1": "F1", "macro_f1": "macro F1", "exact_match": "exact match", "accuracy": "accuracy"}
_RATES = {"fpr": "FPR", "fnr": "FNR"}
_MOST_GROUPS = 6

Metrics = Mapping[str, Any]


def result_lines(run: Run) -> list[str]:
    """The table and the path of the report; nothing where there is no report."""
    if not run.paths.report.metrics_json.exists():
        return []
    metrics = read_json(run.paths.report.metrics_json)
    width = shutil.get_terminal_size((100, 24)).columns
    lines = result_table(metrics["cells"], cell_seconds(run), width, num_labels=len(run.config.task.labels))
    note = (
        [] if metrics.get("complete") else ["", "INCOMPLETE: " + f"sft status {run.paths.typed} says what is missing"]
    )
    return [*lines, *note, "", f"report  {run.paths.report.html}"]


def result_table(
    cells: Mapping[str, Metrics], seconds: Mapping[str, float], width: int, num_labels: int = 2
) -> list[str]:
    """One table where it fits into `width`; else one of the scores and one for each rate. Of several classes F1 is that
    of one of them: the report is led by macro F1."""
    keys = [key for key in _SCORES if key != "f1" or num_labels <= 2]
    score = next((key for key in keys if any(_overall(cell).get(key) is not None for cell in cells.values())), "n")
    heads = ["cell", _score_head(score, cells), "time"]
    body = [[name, _score(_overall(cell), score), duration(seconds.get(name))] for name, cell in cells.items()]
    column, groups = _groups(cells)
    rates = {key: [[_rate(cell, column, group, key) for group in groups] for cell in cells.values()] for key in _RATES}
    known = {key: values for key, values in rates.items() if any(text != "-" for row in values for text in row)}
    wide = _one_table(heads, body, known, groups)
    if max(map(len, wide)) <= width:
        return wide
    names = [[row[0]] for row in body]
    parts = [table(heads, body, "<<>")]
    for key, values in known.items():
        lines = [[*name, *row] for name, row in zip(names, values, strict=True)]
        parts.append(["", *table([_RATES[key], *groups], lines, "<" + ">" * len(groups))])
    return [line for part in parts for line in part]


def _one_table(
    heads: list[str], body: list[list[str]], rates: Mapping[str, list[list[str]]], groups: list[str]
) -> list[str]:
    header, rows = list(heads), [list(row) for row in body]
    for key, values in rates.items():
        header += [f"{_RATES[key]} {group}" if index == 0 else group for index, group in enumerate(groups)]
        for row, texts in zip(rows, values, strict=True):
            row += texts
    return table(header, rows, "<<" + ">" * (len(header) - 2))


def _overall(cell: Metrics) -> Metrics:
    return cell.get("overall") or {}


def _score_head(score: str, cells: Mapping[str, Metrics]) -> str:
    has_interval = any(_overall(cell).get(f"{score}_low") is not None for cell in cells.values())
    return _SCORES.get(score, "records") + (" [interval]" if has_interval else "")


def _score(overall: Metrics, score: str) -> str:
    value = overall.get(score)
    if score == "n" or value is None:
        return "-" if value is None else str(value)
    low, high = overall.get(f"{score}_low"), overall.get(f"{score}_high")
    return rate(value) + (f" [{rate(low)}-{rate(high)}]" if low is not None and high is not None else "")


def _groups(cells: Mapping[str, Metrics]) -> tuple[str, list[str]]:
    """The first group column and its largest values; the report has all of them."""
    for cell in cells.values():
        for column, values in (cell.get("groups") or {}).items():
            largest = sorted(values, key=lambda value: -(values[value].get("n") or 0))[:_MOST_GROUPS]
            return column, [value for value in values if value in largest]
    return "", []


def _rate(cell: Metrics, column: str, group: str, key: str) -> str:
    return rate((cell.get("groups") or {}).get(column, {}).get(group, {}).get(key))


def cell_seconds(run: Run) -> dict[str, float]:
    """Time that each cell's elements took, over all attempts."""
    names: Sequence[str] = [cell.id for cell in run.cells]
    seconds = dict.fromkeys(names, 0.0)
    for attempt in all_attempts(run.paths):
        for ending in attempt.endings():
            cell = ending["element"].split("/")[1] if "/" in ending["element"] else ""
            if cell in seconds:
                seconds[cell] += ending["seconds"]
    return seconds
