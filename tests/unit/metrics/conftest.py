"""The golden group counts of the record, and how to turn counts back into rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sftlib.metrics.counts import Counts
from sftlib.metrics.formulas import Array

Rows = tuple[Array, Array]


@pytest.fixture
def golden() -> dict[str, Counts]:
    return {
        "lgbtq": Counts(tp=103, fn=67, fp=139, tn=184),
        "mexican": Counts(tp=74, fn=49, fp=7, tn=79),
        "middle_east": Counts(tp=105, fn=57, fp=34, tn=110),
    }


@pytest.fixture
def rows_of() -> Callable[[Array], Rows]:
    """A (K, K+1) matrix as one label code and one outcome code per record."""

    def expand(matrix: Array) -> Rows:
        label, outcome = np.indices(matrix.shape)
        return np.repeat(label.ravel(), matrix.ravel()), np.repeat(outcome.ravel(), matrix.ravel())

    return expand


@pytest.fixture
def random_matrices() -> Callable[..., Array]:
    """Tables as they come: small, with many empty cells, empty classes and now and then nothing at all."""

    def draw(num_tables: int, shape: tuple[int, ...], seed: int = 0) -> Array:
        rng = np.random.default_rng(seed)
        tables = rng.integers(0, 25, size=(num_tables, *shape))
        tables[rng.random(tables.shape) < 0.3] = 0
        empty_class = rng.random((num_tables, shape[0])) < 0.1
        tables[empty_class] = 0
        return tables

    return draw
