"""A score of each record (ROUGE-L) in two runs on the same records: values of A and B come in, the comparison of their means
goes out, in the form that paired.compare gives a rate. Differences are B minus A.

Records with the same difference are exchangeable, so bootstrap and permutation draw counts, not rows: the cost does not grow
with the records. Very many different differences are put together by MOST_CELLS steps, each standing for its own mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.metrics.bootstrap import CELLS_PER_BATCH, DEFAULT_REPLICATES, bootstrap_intervals
from sftlib.metrics.counts import none_if_nan
from sftlib.metrics.formulas import Array
from sftlib.metrics.paired import change_of

MOST_CELLS = 512


def compare_means(
    values_a: npt.ArrayLike, values_b: npt.ArrayLike, confidence: float = 0.95, replicates: int = DEFAULT_REPLICATES,
    seed: int = 0, tried: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Both means, their difference with interval, p and the records needed, and on how many records either is higher.
    A record without a value in either run is left out of all of them."""
    a, b = (np.asarray(values, float) for values in (values_a, values_b))
    if a.shape != b.shape:
        raise ValueError(f"{a.size} values of A for {b.size} of B; expected one each: join them on sample id first")
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    change = b - a
    counts, means = cells_of(change)

    def mean(drawn: Array) -> Array:
        return (drawn * means).sum(-1) / drawn.sum(-1)

    estimate = bootstrap_intervals(counts, {"mean": mean}, confidence, replicates, seed)["mean"]
    return {
        "a": none_if_nan(a.mean()) if a.size else None,
        "b": none_if_nan(b.mean()) if b.size else None,
        **change_of(estimate, len(change), 1 - confidence, tried),
        "p": sign_flip_p_value(change, replicates, seed),
        "test": "permutation",
        "n": len(change),
        "a_higher": int((change < 0).sum()),
        "b_higher": int((change > 0).sum()),
        "tied": int((change == 0).sum()),
    }


def sign_flip_p_value(change: npt.ArrayLike, replicates: int = DEFAULT_REPLICATES, seed: int = 0) -> float | None:
    """Two-sided p of a mean difference of 0: when A and B do not differ, each record's difference has either sign."""
    values = np.asarray(change, float)
    if not values.size:
        return None
    counts, sizes = cells_of(np.abs(values[values != 0]))
    seen, as_far = abs(float(values.sum())), 0
    rng, batch = np.random.default_rng(seed), max(1, CELLS_PER_BATCH // max(1, counts.size))
    for start in range(0, replicates, batch):
        positive = rng.binomial(counts, 0.5, size=(min(batch, replicates - start), counts.size))
        as_far += int((np.abs(((2 * positive - counts) * sizes).sum(-1)) >= seen - 1e-9 * max(1.0, seen)).sum())
    return (1 + as_far) / (1 + replicates)  # the data is one permutation


def cells_of(values: Array) -> tuple[Array, Array]:
    """(records, mean value) of every group of records with equal values, or nearly so where there are very many."""
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size <= MOST_CELLS:
        return counts, distinct
    step = (distinct[-1] - distinct[0]) / MOST_CELLS
    bins = np.minimum(((values - distinct[0]) / step).astype(np.int64), MOST_CELLS - 1)
    counts = np.bincount(bins, minlength=MOST_CELLS)
    used = counts > 0
    return counts[used], np.bincount(bins, values, minlength=MOST_CELLS)[used] / counts[used]
