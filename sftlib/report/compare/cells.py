"""One side of a comparison as a cell of metrics.json, as far as the paired records tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from sftlib.metrics.formulas import Array
from sftlib.metrics.trivial import trivial_baselines
from sftlib.report.cells import confusion_figures
from sftlib.report.compare.pairing import Paired
from sftlib.report.open_ended import measure_texts
from sftlib.report.pairs import Joint
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import NONE

MOST_GROUPS = 60  # with intervals of their own


def label_cell(joint: Joint, matrix_of: Any, scheme: Scheme, is_second: bool) -> dict[str, Any]:
    """A side of a task with labels; `matrix_of` takes its confusion matrix out of the joint counts."""
    overall = matrix_of(joint.cells)
    groups = {
        column: {name: matrix_of(groups[name]) for name in sorted(groups) if groups[name].any()}
        for column, groups in joint.groups.items()
    }
    counts = scheme.counts(overall) if scheme.positive else None
    return {
        **_side(is_second),
        "overall": scheme.measure({"": overall})[""],
        "groups": {column: scheme.measure(matrices, intervals=len(matrices) <= MOST_GROUPS) for column, matrices in groups.items()},
        "baselines": trivial_baselines(counts.n_positive, counts.n_negative) if counts else {},
        "confusion": confusion_figures(overall, scheme),
    }  # fmt: skip


def text_cell(paired: Paired, answers: Array, scheme: Scheme, is_second: bool) -> dict[str, Any]:
    """The same of an open-ended task."""
    groups: dict[str, dict[str, Any]] = {}
    for column, member in paired.answers.groups.items():
        names = paired.words.groups[column].names
        codes = sorted(np.unique(member.values).tolist(), key=lambda code: (names[code] == NONE, names[code]))
        groups[column] = {
            names[code]: measure_texts(answers[member.rows[member.values == code]], scheme.confidence) for code in codes
        }
    return {**_side(is_second), "overall": measure_texts(answers, scheme.confidence), "groups": groups, "baselines": {}}


def _side(is_second: bool) -> dict[str, Any]:
    """What is not known of a side that is only compared."""
    return {
        "is_baseline": is_second, "overrides": {}, "disparities": {}, "stratified": {}, "scores": None,
        "unparsed": {"reasons": {}, "unknown_labels": {}}, "unlabelled": 0, "tokens": {}, "training": None,
    }  # fmt: skip
