"""Several classes: labels and predictions (or their K x K+1 confusion matrix) come in, metrics per class and over all
classes go out. The last column holds the unparsed answers: a miss for their class, a prediction of none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.metrics import formulas
from sftlib.metrics.counts import Counts, check_codes, none_if_nan
from sftlib.metrics.formulas import Array


def confusion_matrix(labels: npt.ArrayLike, outcomes: npt.ArrayLike, num_classes: int) -> Array:
    """Rows to a (K, K+1) matrix; the code of an unparsed answer is num_classes."""
    label = check_codes("label", labels, num_classes)
    cell = label * (num_classes + 1) + check_codes("outcome", outcomes, num_classes + 1)
    width = num_classes + 1
    return np.bincount(cell, minlength=num_classes * width).reshape(num_classes, width)


def multiclass_rates(matrix: npt.ArrayLike, classes: Sequence[str]) -> dict[str, Any]:
    """Overall metrics, metrics by class, and the matrix itself, with None where a denominator is empty."""
    cells = _check_matrix(matrix, classes)
    overall = {name: none_if_nan(formula(cells)) for name, formula in formulas.ANY_CLASSES.items()}
    unparsed = int(cells[:, -1].sum())
    return {
        "n": int(cells.sum()),
        "unparsed": unparsed,
        **overall,
        "classes": rates_by_class(cells, classes),
        "confusion": {name: row.tolist() for name, row in zip(classes, cells, strict=True)},
    }


def rates_by_class(matrix: npt.ArrayLike, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Support, predictions, unparsed, precision, recall and F1 of each class."""
    cells = _check_matrix(matrix, classes)
    integers = {
        "support": formulas.class_support(cells),
        "predicted": formulas.class_predicted(cells),
        "hits": formulas.class_hits(cells),
        "unparsed": cells[:, -1],
    }
    shares = {
        "precision": formulas.class_precision(cells),
        "recall": formulas.class_recall(cells),
        "f1": formulas.class_f1(cells),
    }
    return {
        name: {key: int(column[place]) for key, column in integers.items()}
        | {key: none_if_nan(column[place]) for key, column in shares.items()}
        for place, name in enumerate(classes)
    }


def one_against_rest(matrix: npt.ArrayLike, class_index: int) -> Counts:
    """The binary Counts of one class against all others, so that bias metrics work on each class."""
    cells = np.asarray(matrix)
    positive, others = cells[class_index], np.delete(cells, class_index, axis=0).sum(0)

    def fold(row: Array) -> list[int]:
        hit, unparsed = int(row[class_index]), int(row[-1])
        return [hit, int(row.sum()) - hit - unparsed, unparsed]

    return Counts.from_matrix(fold(positive) + fold(others))


def _check_matrix(matrix: npt.ArrayLike, classes: Sequence[str]) -> Array:
    cells, expected = np.asarray(matrix), (len(classes), len(classes) + 1)
    if cells.shape != expected:
        raise ValueError(
            f"the confusion matrix is {cells.shape}; expected {expected} for {len(classes)} classes: one row per "
            "class, one column per class and a last one for unparsed answers"
        )
    return cells
