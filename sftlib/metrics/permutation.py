"""Permutation test of two runs on the same records: joint counts and formulas of them come in, p-values go out.

Under "A and B do not differ" each record's two outcomes may be swapped. Only discordant records change by that, and
all records of a label with the same pair of outcomes do the same, so a swap of every record is one binomial a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from sftlib.metrics.bootstrap import CELLS_PER_BATCH
from sftlib.metrics.formulas import Array, Formula


def permutation_p_values(
    joint: Array, changes: Mapping[str, Formula], replicates: int, seed: int
) -> dict[str, float | None]:
    """Two-sided p of each change; None where it is undefined on the data. Undefined permutations count against."""
    rng = np.random.default_rng(seed)
    seen = {name: abs(float(change(joint))) for name, change in changes.items()}
    as_far = dict.fromkeys(changes, 0)
    for swapped in _swaps(joint, replicates, rng):
        for name, change in changes.items():
            # "not less" and not "greater": NaN then counts as far out, which can only make p larger.
            as_far[name] += int((~(np.abs(change(swapped)) < seen[name] - 1e-12)).sum())
    return {
        name: None if np.isnan(seen[name]) else (1 + as_far[name]) / (1 + replicates)  # the data is one permutation
        for name in changes
    }


def _swaps(joint: Array, replicates: int, rng: np.random.Generator) -> Iterator[Array]:
    size = max(1, CELLS_PER_BATCH // joint.size)
    for start in range(0, replicates, size):
        count = min(size, replicates - start)
        swapped = np.repeat(joint[..., None], count, axis=-1)
        for i, j in combinations(range(joint.shape[-1]), 2):
            discordant = joint[:, i, j] + joint[:, j, i]
            kept = rng.binomial(discordant, 0.5, size=(count, len(joint))).T
            swapped[:, i, j] = kept
            swapped[:, j, i] = discordant[:, None] - kept
        yield np.moveaxis(swapped, -1, 0)
