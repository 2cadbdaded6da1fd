"""Every rate as one vectorised formula: confusion matrices of shape (..., K, K+1) come in, an array of shape (...)
goes out, NaN where the denominator is empty. One row per true class, one column per predicted class, and a last
column for the answers that could not be parsed; in the binary case the positive class is row and column 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Formula = Callable[[Array], Array]


def divide(numerator: Array, denominator: Array) -> Array:
    """The quotient, NaN where the denominator is zero: a rate of nothing is not a rate of 0."""
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    blank = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    return np.divide(top, bottom, out=blank, where=bottom > 0)


def class_hits(matrix: Array) -> Array:
    """Records of each class that were predicted right."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def class_support(matrix: Array) -> Array:
    """Records of each true class, unparsed ones included."""
    return np.asarray(matrix).sum(-1)


def class_predicted(matrix: Array) -> Array:
    """Records that each class was predicted for."""
    return np.asarray(matrix)[..., :-1].sum(-2)


def class_precision(matrix: Array) -> Array:
    """Right predictions of each class over all predictions of it."""
    return divide(class_hits(matrix), class_predicted(matrix))


def class_recall(matrix: Array) -> Array:
    """Right predictions of each class over all its records, unparsed ones included."""
    return divide(class_hits(matrix), class_support(matrix))


def class_f1(matrix: Array) -> Array:
    """F1 of each class; an unparsed record is a miss of its class."""
    return divide(2 * class_hits(matrix), class_support(matrix) + class_predicted(matrix))


def mean_of_defined(values: Array) -> Array:
    """Mean over the last axis of what is defined, NaN where nothing is."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))


def accuracy(matrix: Array) -> Array:
    """Right answers over all records; an unparsed answer is a wrong one."""
    return divide(class_hits(matrix).sum(-1), class_support(matrix).sum(-1))


def balanced_accuracy(matrix: Array) -> Array:
    """Mean recall; undefined when a class has no record, since then nothing is balanced."""
    recall = class_recall(matrix)
    return recall.mean(-1)


def macro_precision(matrix: Array) -> Array:
    """Mean precision of the classes that were predicted."""
    return mean_of_defined(class_precision(matrix))


def macro_recall(matrix: Array) -> Array:
    """Mean recall of the classes that have records."""
    return mean_of_defined(class_recall(matrix))


def macro_f1(matrix: Array) -> Array:
    """Mean F1 of the classes that occur in truth or prediction; a class that occurs in neither has no F1."""
    return mean_of_defined(class_f1(matrix))


def weighted_f1(matrix: Array) -> Array:
    """Mean F1 weighted by the number of records of each true class."""
    f1_by_class, support = np.nan_to_num(class_f1(matrix)), class_support(matrix)
    return divide((f1_by_class * support).sum(-1), support.sum(-1))


def mcc(matrix: Array) -> Array:
    """Multi-class MCC with "unparsed" as a predicted class that is never right.

    The variances are sums of products, not differences of squares: at 10^8 records the latter lose the zero that says
    that only one class was predicted.
    """
    cells = np.asarray(matrix, float)
    predicted, true = cells.sum(-2), cells.sum(-1)
    total = true.sum(-1, keepdims=True)
    covariance = (class_hits(cells) * total).sum(-1) - (predicted[..., :-1] * true).sum(-1)
    spread = (predicted * (total - predicted)).sum(-1) * (true * (total - true)).sum(-1)
    return divide(covariance, np.sqrt(spread))


def parse_rate(matrix: Array) -> Array:
    """Parsed answers over all records."""
    return divide(np.asarray(matrix)[..., :-1].sum((-1, -2)), class_support(matrix).sum(-1))


def precision(matrix: Array) -> Array:
    """TP / (TP+FP)."""
    return class_precision(matrix)[..., 0]


def recall(matrix: Array) -> Array:
    """TP / (TP+FN+UP): an unparsed positive is a miss."""
    return class_recall(matrix)[..., 0]


def f1(matrix: Array) -> Array:
    """2TP / (2TP+FP+FN+UP): an unparsed positive is a miss."""
    return class_f1(matrix)[..., 0]


def fpr(matrix: Array) -> Array:
    """FP / (FP+TN), over parsed answers only; the bounds below say what the unparsed ones could change."""
    return divide(matrix[..., 1, 0], matrix[..., 1, :2].sum(-1))


def fnr(matrix: Array) -> Array:
    """FN / (FN+TP), over parsed answers only."""
    return divide(matrix[..., 0, 1], matrix[..., 0, :2].sum(-1))


def tpr(matrix: Array) -> Array:
    """TP / (FN+TP) = 1 - FNR; not the headline recall, which counts an unparsed positive as a miss."""
    return divide(matrix[..., 0, 0], matrix[..., 0, :2].sum(-1))


def selection_rate(matrix: Array) -> Array:
    """(TP+FP) / n, unparsed records included in n."""
    return divide(matrix[..., :, 0].sum(-1), matrix.sum((-1, -2)))


def fpr_bound_low(matrix: Array) -> Array:
    """FPR had every unparsed negative been answered right."""
    return divide(matrix[..., 1, 0], matrix[..., 1, :].sum(-1))


def fpr_bound_high(matrix: Array) -> Array:
    """FPR had every unparsed negative been answered wrong."""
    return divide(matrix[..., 1, 0] + matrix[..., 1, 2], matrix[..., 1, :].sum(-1))


def fnr_bound_low(matrix: Array) -> Array:
    """FNR had every unparsed positive been answered right."""
    return divide(matrix[..., 0, 1], matrix[..., 0, :].sum(-1))


def fnr_bound_high(matrix: Array) -> Array:
    """FNR had every unparsed positive been answered wrong."""
    return divide(matrix[..., 0, 1] + matrix[..., 0, 2], matrix[..., 0, :].sum(-1))


# What works for any number of classes, and what needs a positive class; the order is the order of the reports.
ANY_CLASSES: dict[str, Formula] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "mcc": mcc,
    "parse_rate": parse_rate,
}
BINARY: dict[str, Formula] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "mcc": mcc,
    "fpr": fpr,
    "fnr": fnr,
    "selection_rate": selection_rate,
    "parse_rate": parse_rate,
    "fpr_bound_low": fpr_bound_low,
    "fpr_bound_high": fpr_bound_high,
    "fnr_bound_low": fnr_bound_low,
    "fnr_bound_high": fnr_bound_high,
}
