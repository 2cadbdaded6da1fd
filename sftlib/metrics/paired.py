"""Two runs on the same records: joint counts (label x outcome of A x outcome of B) come in, the comparison goes out.

Outcomes are class codes, the last one "unparsed". Every difference is B minus A, so that with A the baseline a positive
number is a rise. Accuracy is tested by exact McNemar, everything else by permutation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.metrics.bootstrap import DEFAULT_REPLICATES, Estimate, bootstrap_intervals
from sftlib.metrics.counts import check_codes, none_if_nan
from sftlib.metrics.formulas import BINARY, Array, Formula
from sftlib.metrics.intervals import holm, normal_quantile
from sftlib.metrics.permutation import permutation_p_values

COMPARED = ("accuracy", "f1", "fpr", "fnr")
POWER = 0.8


def joint_counts(
    labels: npt.ArrayLike, outcomes_a: npt.ArrayLike, outcomes_b: npt.ArrayLike, num_classes: int = 2
) -> Array:
    """Rows, already joined on sample id, to counts of shape (K, K+1, K+1)."""
    groups = np.zeros(np.size(labels), np.int64)
    return joint_counts_by_group(labels, outcomes_a, outcomes_b, groups, 1, num_classes)[0]


def joint_counts_by_group(
    labels: npt.ArrayLike,
    outcomes_a: npt.ArrayLike,
    outcomes_b: npt.ArrayLike,
    groups: npt.ArrayLike,
    num_groups: int,
    num_classes: int = 2,
) -> Array:
    """Joint counts of every group, (groups, K, K+1, K+1), in one pass."""
    width = num_classes + 1
    cell = check_codes("group", groups, num_groups) * num_classes + check_codes("label", labels, num_classes)
    cell = cell * width + check_codes("outcome of A", outcomes_a, width)
    cell = cell * width + check_codes("outcome of B", outcomes_b, width)
    shape = (num_groups, num_classes, width, width)
    return np.bincount(cell, minlength=math.prod(shape)).reshape(shape)


def run_a(joint: Array) -> Array:
    """The confusion matrix of A alone."""
    return joint.sum(-1)


def run_b(joint: Array) -> Array:
    """The confusion matrix of B alone."""
    return joint.sum(-2)


def compare(
    joint: npt.ArrayLike,
    metrics: Mapping[str, Formula] | None = None,
    confidence: float = 0.95,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = 0,
    tried: int = 1,
) -> dict[str, Any]:
    """Each metric of both runs, its difference with interval, p and the records needed; McNemar; flips.

    `tried` is how many comparisons this one was chosen from; the needed records are counted at that stricter level.
    """
    counts = np.asarray(joint)
    formulas = {name: BINARY[name] for name in COMPARED} if metrics is None else dict(metrics)
    changes = {name: difference_of(formula) for name, formula in formulas.items()}
    estimates = bootstrap_intervals(counts, changes, confidence, replicates, seed)
    p_values = permutation_p_values(counts, changes, replicates, seed)
    tested = mcnemar(counts)
    n = int(counts.sum())
    result = {}
    for name, formula in formulas.items():
        exact = name == "accuracy"
        result[name] = {
            "a": none_if_nan(formula(run_a(counts))),
            "b": none_if_nan(formula(run_b(counts))),
            **change_of(estimates[name], n, 1 - confidence, tried),
            "p": tested["exact_p"] if exact and n else p_values[name],
            "test": "mcnemar_exact" if exact else "permutation",
        }
    return {
        "n": n,
        "confidence": confidence,
        "tried": tried,
        "metrics": result,
        "mcnemar": tested,
        "flips": flips(counts),
    }


def compare_cells(joints: Mapping[str, npt.ArrayLike], **options: Any) -> dict[str, dict[str, Any]]:
    """Many runs, each against the same A, with `p_holm` adjusted metric by metric for how many were tried."""
    results = {cell: compare(joint, tried=len(joints), **options) for cell, joint in joints.items()}
    adjust(results)
    return results


def adjust(results: Mapping[str, dict[str, Any]]) -> None:
    """Give every metric of a family of comparisons its `p_holm`."""
    for name in next(iter(results.values()))["metrics"] if results else ():
        entries = [result["metrics"][name] for result in results.values()]
        for entry, adjusted in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = adjusted


def difference_of(formula: Formula) -> Formula:
    """The formula's change from A to B as a formula of joint counts."""
    return lambda joint: formula(run_b(joint)) - formula(run_a(joint))


def mcnemar(joint: npt.ArrayLike) -> dict[str, Any]:
    """McNemar's test of equal accuracy: exact (never too bold) and mid-p (nearer its nominal level)."""
    flipped = flips(joint)
    lost, gained = flipped["a_right_b_wrong"], flipped["b_right_a_wrong"]
    exact, mid = mcnemar_p_values(lost, gained)
    return {"a_right_b_wrong": lost, "b_right_a_wrong": gained, "exact_p": exact, "mid_p": mid}


def mcnemar_p_values(lost: int, gained: int) -> tuple[float, float]:
    """(exact p, mid-p), two-sided, of two counts of discordant pairs."""
    discordant, fewer = lost + gained, min(lost, gained)
    if discordant == 0:
        return 1.0, 1.0
    from scipy.special import bdtr, betaln  # imported here: 0.1 s that `import sftlib.metrics` must not cost

    tail = 2 * float(bdtr(fewer, discordant, 0.5))
    log_choose = -math.log(discordant + 1) - betaln(discordant - fewer + 1, fewer + 1)
    point = math.exp(log_choose - discordant * math.log(2))
    return min(1.0, tail), min(1.0, tail - point)


def flips(joint: npt.ArrayLike) -> dict[str, int]:
    """How many records changed sides, both ways, unparsed counting as wrong."""
    counts = np.asarray(joint)
    hit = np.arange(len(counts))
    both_right = int(counts[hit, hit, hit].sum())
    lost = int(run_a(counts)[hit, hit].sum()) - both_right
    gained = int(run_b(counts)[hit, hit].sum()) - both_right
    same = int(np.trace(counts.sum(0)))
    wrong = int(counts.sum()) - both_right - lost - gained
    return {
        "both_right": both_right,
        "a_right_b_wrong": lost,
        "b_right_a_wrong": gained,
        "both_wrong": wrong,
        "both_wrong_differently": wrong - (same - both_right),
        "parsed_in_a_only": int(counts[:, :-1, -1].sum()),
        "parsed_in_b_only": int(counts[:, -1, :-1].sum()),
    }


def needed_records(
    difference: float, standard_error: float, n: int, alpha: float = 0.05, tried: int = 1, power: float = POWER
) -> int | None:
    """Records at which a difference of this size is seen with the given power, its standard error shrinking with the
    root of n; None for no difference."""
    if not difference or not standard_error:
        return None
    reach = normal_quantile(1 - alpha / tried) + normal_quantile(2 * power - 1)
    return math.ceil(n * (reach * standard_error / difference) ** 2)


def change_of(estimate: Estimate, n: int, alpha: float, tried: int) -> dict[str, Any]:
    """A difference as metrics.json has it."""
    difference, low, high, standard_error = estimate
    needed = None
    if difference is not None and standard_error is not None:
        needed = needed_records(difference, standard_error, n, alpha, tried)
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "standard_error": standard_error,
        "needed_records": needed,
    }
