"""How well scores order records: a table of positives and negatives by ascending score (scores.tied_table, or the
counts of a ScoreHistogram) comes in; AUROC, average precision and the bias AUCs of Borkan et al. go out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.metrics.counts import NEGATIVE, POSITIVE
from sftlib.metrics.formulas import Array, divide
from sftlib.metrics.intervals import Interval, normal_quantile
from sftlib.metrics.scores import check_scores

BIAS_AUCS = ("subgroup", "bpsn", "bnsp")


def auroc(table: Array) -> float | None:
    """The chance that a positive outscores a negative, ties counting half; None with one class only.

    From a histogram, records that share a column are taken as tied.
    """
    positives, negatives = _whole(table)
    if not positives.sum() or not negatives.sum():
        return None
    return float((positives * _twice_beaten(negatives)).sum() / (2 * positives.sum() * negatives.sum()))


def auroc_interval(table: Array, confidence: float = 0.95) -> Interval:
    """DeLong's interval on the logit scale, which keeps it inside 0 to 1; None where it has no spread to go by."""
    area = auroc(table)
    positives, negatives = _whole(table)
    if area is None or not 0 < area < 1 or min(positives.sum(), negatives.sum()) < 2:
        return Interval(None, None)
    beaten = _twice_beaten(negatives) / (2 * negatives.sum())
    losing = 1 - _twice_beaten(positives) / (2 * positives.sum())
    variance = _variance_of_mean(positives, beaten) + _variance_of_mean(negatives, losing)
    reach = normal_quantile(confidence) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    return Interval(1 / (1 + math.exp(reach - logit)), 1 / (1 + math.exp(-reach - logit)))


def average_precision(table: Array) -> float | None:
    """Sum of precision times the step in recall over falling thresholds, tied scores in one step."""
    positives, negatives = _whole(table)
    found, called = np.cumsum(positives[::-1]), np.cumsum((positives + negatives)[::-1])
    if not found.size or not found[-1]:
        return None
    precision = np.nan_to_num(divide(found, called))
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def binned_average_precision(table: Array) -> float | None:
    """Average precision from a histogram: its columns hold close scores, not tied ones, so that precision is averaged
    over the recall within each column as if its records were well mixed (one step a column reads 0.002 too low)."""
    positives, negatives = (counts[::-1].astype(float) for counts in _whole(table))
    if not positives.sum():
        return None
    wide = positives > 0
    size, hits = (positives + negatives)[wide], positives[wide]
    found, called = (np.cumsum(positives) - positives)[wide], (np.cumsum(positives + negatives))[wide] - size
    # The mean over 0 < x < 1 of (found + x hits) / (called + x size); the first column has called = 0.
    growth = np.log1p(divide(size, called))
    precision = hits / size + np.nan_to_num((found - called * hits / size) / size * growth)
    return float((precision * hits).sum() / positives.sum())


def bias_aucs(
    overall: Array, groups: Mapping[str, Array], power: float = -5.0, names: Sequence[str] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Subgroup, BPSN and BNSP AUC of each group, and their generalised means, which the worst groups pull down.

    All tables share their columns. The background of a group is every record outside it, whatever other groups there
    are: BPSN low means that the group's negatives score too high, BNSP low that its positives score too low. `names`
    are the groups to judge, where those are not all; each table is looked up once.
    """
    by_group = {group: _bias_aucs_of(overall, groups[group]) for group in (groups if names is None else names)}
    means = {name: generalised_mean((aucs[name] for aucs in by_group.values()), power) for name in BIAS_AUCS}
    return {"overall": auroc(overall), "groups": by_group, "generalised_mean": means, "power": power}


def tables_by_group(
    labels: npt.ArrayLike, scores: npt.ArrayLike, members: Mapping[str, npt.ArrayLike]
) -> tuple[Array, dict[str, Array]]:
    """Exact tables for bias_aucs from rows; members[group] is a mask, so that a record may be in several groups."""
    label, score = check_scores(labels, scores)
    distinct, place = np.unique(score, return_inverse=True)
    cell = label * distinct.size + place

    def table(cells: Array) -> Array:
        return np.bincount(cells, minlength=2 * distinct.size).reshape(2, distinct.size)

    return table(cell), {group: table(cell[np.asarray(mask, bool)]) for group, mask in members.items()}


def generalised_mean(values: Iterable[float | None], power: float = -5.0) -> float | None:
    """(mean of v^power)^(1/power) over what is defined; with a negative power one 0 makes it 0."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if power < 0 and min(known) == 0:
        return 0.0
    return float(np.mean(np.power(known, power)) ** (1 / power))


def _bias_aucs_of(overall: Array, group: Array) -> dict[str, float | None]:
    background = np.asarray(overall) - group
    if (background < 0).any():
        raise ValueError("a group has more records in a score bin than all records together; pass the overall table")
    both = {
        "bpsn": np.stack([background[POSITIVE], group[NEGATIVE]]),
        "bnsp": np.stack([group[POSITIVE], background[NEGATIVE]]),
    }
    return {"subgroup": auroc(group)} | {name: auroc(table) for name, table in both.items()}


def _whole(table: Array) -> tuple[Array, Array]:
    """Positives and negatives as integers: sums of products up to 10^8 records squared must not round."""
    cells = np.asarray(table).astype(np.int64)
    return cells[POSITIVE], cells[NEGATIVE]


def _twice_beaten(others: Array) -> Array:
    """Twice the number of others below each column, ties counting half."""
    return 2 * (np.cumsum(others) - others) + others


def _variance_of_mean(counts: Array, values: Array) -> float:
    n = counts.sum()
    mean = (counts * values).sum() / n
    return float((counts * (values - mean) ** 2).sum() / (n - 1) / n)
