"""A few of the records on which two sides differ: paired answers come in, what each side said goes out."""

from __future__ import annotations

from typing import Any

import numpy as np

from sftlib.metrics.formulas import Array
from sftlib.report.compare.pairing import Paired
from sftlib.report.compare.sides import Side
from sftlib.report.scheme import Scheme
from sftlib.report.text_pairs import clearest

EXAMPLES = 5  # each way, of each comparison; of each group one


def examples(paired: Paired, first: Side, second: Side, scheme: Scheme) -> dict[str, list[dict[str, Any]]]:
    """Records that one side alone got right, from as many groups as there are."""
    if paired.texts:
        a, b = paired.texts
        ways = {"a_right_b_wrong": clearest(a, b), "b_right_a_wrong": clearest(b, a)}
        return {
            way: [_example(paired, first, second, scheme, int(row)) for row in rows[:EXAMPLES]]
            for way, rows in ways.items()
        }
    gold, outcomes = paired.answers.gold, paired.answers.outcomes
    right = {side.name: outcomes[side.name] == gold for side in (first, second)}
    flipped = {
        "a_right_b_wrong": right[first.name] & ~right[second.name],
        "b_right_a_wrong": right[second.name] & ~right[first.name],
    }
    return {
        way: [_example(paired, first, second, scheme, int(row)) for row in _spread(paired, np.flatnonzero(rows))]
        for way, rows in flipped.items()
    }


def _spread(paired: Paired, rows: Array) -> list[int]:
    """The first record of each group, then others, EXAMPLES in all."""
    column = next(iter(paired.answers.groups), None)
    first: dict[int, int] = {}
    if column is not None:
        member = paired.answers.groups[column]
        inside = np.isin(member.rows, rows)
        for row, value in zip(member.rows[inside].tolist(), member.values[inside].tolist(), strict=True):
            first.setdefault(value, row)
    chosen = list(dict.fromkeys([*first.values(), *rows[:EXAMPLES].tolist()]))
    return chosen[: max(EXAMPLES, min(len(first), 2 * EXAMPLES))]


def _example(paired: Paired, first: Side, second: Side, scheme: Scheme, row: int) -> dict[str, Any]:
    groups = {
        column: [paired.words.groups[column].names[value] for value in member.values[member.rows == row]]
        for column, member in paired.answers.groups.items()
        if column in paired.words.columns
    }
    at = {side: int(rows[row]) for side, rows in zip(("a", "b"), paired.rows, strict=True)}
    said = {
        "gold": _text(first, at["a"], "gold"),
        "a": _text(first, at["a"], "prediction"),
        "b": _text(second, at["b"], "prediction"),
    }
    if scheme.has_labels:
        names, answers = [*scheme.labels, None], paired.answers
        codes = {"gold": answers.gold, "a": answers.outcomes[first.name], "b": answers.outcomes[second.name]}
        said = {key: names[values[row]] for key, values in codes.items()}
    return {
        "sample_id": paired.ids[row].as_py(), "gold": said["gold"], "groups": groups, "a": said["a"], "b": said["b"],
        "a_raw": _text(first, at["a"], "raw"), "b_raw": _text(second, at["b"], "raw"),
    }  # fmt: skip


def _text(side: Side, row: int, column: str) -> str | None:
    for batch in side.batches:
        if row < batch.num_rows:
            return batch.column(column)[row].as_py() if column in batch.schema.names else None
        row -= batch.num_rows
    return None
