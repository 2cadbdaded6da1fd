"""The table of cells: score with interval, accuracy, error rates, time; trivial baselines beneath."""

from __future__ import annotations

from html import escape

from sftlib.report.page.markup import Head, cell_name, colour, section, table
from sftlib.report.page.numbers import Numbers, duration, percent, rate, whole
from sftlib.report.page.tracks import Dot, track

_TITLES = {
    "f1": Head("F1", "harmonic mean of precision and recall of the positive label; unparsed positives are misses"),
    "macro_f1": Head("macro-F1", "mean F1 of the classes"),
    "accuracy": Head("Accuracy", "share of all records answered right; unparsed counts as wrong"),
    "fpr": Head("FPR", "false positives / parsed negatives"),
    "fnr": Head("FNR", "false negatives / parsed positives"),
    "mcc": Head("MCC", "Matthews correlation"),
    "precision": Head("Precision"),
    "recall": Head("Recall", "unparsed positives are misses"),
    "balanced_accuracy": Head("Balanced accuracy", "mean recall of the classes"),
    "weighted_f1": Head("Weighted F1", "mean F1 of the classes, by their size"),
    "selection_rate": Head("Selected", "share of all records called positive"),
    "empty": Head("Empty answers"),
    "exact_match": Head("Exact match"),
    "normalised_match": Head("Normalised match", "case, punctuation and spacing ignored"),
    "rouge_l": Head("ROUGE-L", "F-measure of the longest common subsequence of words"),
}


def columns(numbers: Numbers) -> list[str]:
    """The metrics that this kind of task has."""
    if numbers.headline == "f1":
        return ["f1", "accuracy", "fpr", "fnr"]
    if numbers.headline == "macro_f1":
        return ["macro_f1", "accuracy"]
    return ["exact_match", "normalised_match", "rouge_l"]


def title_of(key: str) -> Head:
    return _TITLES.get(key, Head(key.replace("_", " ")))


def cells_section(numbers: Numbers) -> str:
    keys, head = columns(numbers), numbers.headline
    heads = [Head("Cell", is_text=True), Head("n"), title_of(head), Head("0 to 1", is_picture=True)]
    heads += [*(title_of(key) for key in keys[1:]), Head("Parsed", "share of answers that could be read")]
    heads += [Head("Training", "wall time, h:mm:ss")] if _is_trained(numbers) else []
    rows = [_row(numbers, cell, keys) for cell in numbers.cells]
    same = "Each cell answered the same prompts. " if numbers.is_run else ""
    lead = f"{same}Small figures are {100 * numbers.metrics['run']['confidence']:g}% intervals."
    if len(numbers.detailed) < len(numbers.cells):
        lead += f" What follows shows the best of {len(numbers.cells)} cells and the baseline; all are in metrics.json and the CSV files."
    caption = "Cells; below the line, answers that need no model" if _trivial_names(numbers) else "Cells"
    return section(
        "cells", "Cells", lead, table(heads, rows, caption, _trivial(numbers, keys, len(heads))), _further(numbers)
    )


def _row(numbers: Numbers, cell: str, keys: list[str]) -> list[str]:
    place, head = ("cells", cell, "overall"), numbers.headline
    dot = Dot(head, colour(numbers, cell), (*place, head), is_hollow=numbers.is_baseline(cell))
    row = [cell_name(numbers, cell), numbers.show(*place, "n", form=whole), numbers.ranged(*place, head)]
    row += [track(numbers, [dot], f"{cell} {title_of(head).text}"), *(numbers.ranged(*place, key) for key in keys[1:])]
    row += [numbers.show(*place, "parse_rate", form=percent)]
    return row + ([numbers.show("cells", cell, "training", "seconds", form=duration)] if _is_trained(numbers) else [])


def _is_trained(numbers: Numbers) -> bool:
    return any(numbers.get("cells", cell, "training") for cell in numbers.cells)


def _further(numbers: Numbers) -> str:
    """What a reviewer asks for and a headline does not need."""
    wanted = ("precision", "recall", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "selection_rate", "empty")
    known = (
        [
            key
            for key in wanted
            if key != numbers.headline and numbers.get("cells", numbers.cells[0], "overall", key) is not None
        ]
        if numbers.cells
        else []
    )
    hybrid = any(numbers.get("cells", cell, "hybrid") for cell in numbers.cells)
    heads = [
        Head("Cell", is_text=True),
        *(title_of(key) for key in known),
        *([Head("Hybrid", "weight × F1 + (1 - weight) × (1 - equalized odds difference)")] if hybrid else []),
    ]
    if _is_trained(numbers):
        heads += [Head("Training loss", "mean over the training"), Head("Tokens/s", "real tokens, no padding")]
    rows = [
        [
            cell_name(numbers, cell), *(numbers.show("cells", cell, "overall", key, form=whole if key == "empty" else rate) for key in known),
            *([numbers.show("cells", cell, "hybrid", "score")] if hybrid else []),
            *([numbers.show("cells", cell, "training", "train_loss"), numbers.show("cells", cell, "training", "tokens_per_s", form=whole)]
              if _is_trained(numbers) else []),
        ]
        for cell in numbers.cells
    ]  # fmt: skip
    return table(heads, rows, "Further figures")


def _trivial_names(numbers: Numbers) -> list[tuple[str, str]]:
    """(cell, name) of each trivial baseline, taken from the cell that has most records."""
    if not numbers.cells:
        return []
    cell = max(numbers.cells, key=lambda name: numbers.get("cells", name, "overall", "n") or 0)
    return [(cell, name) for name in numbers.get("cells", cell, "baselines") or {}]


def _trivial(numbers: Numbers, keys: list[str], width: int) -> list[list[str]]:
    positive = escape(str(numbers.metrics["run"]["positive"]))
    words = {
        "always_positive": f"always “{positive}”",
        "always_negative": f"never “{positive}”",
        "prior": "guessing at the prior",
    }
    rows = []
    for cell, name in _trivial_names(numbers):
        figures = [numbers.show("cells", cell, "baselines", name, key, form=rate) for key in keys]
        row = [words.get(name, escape(name)), "", figures[0], "", *figures[1:]]
        rows.append(row + [""] * (width - len(row)))
    return rows
