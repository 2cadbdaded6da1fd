"""Rows of records: each record once, no row too full, about as few rows as there can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftlib.data.layout import lay_out
from sftlib.data.packing import plan_rows, plan_shared_rows
from sftlib.data.rendering import TrainingRow
from sftlib.data.rows import Rows
from sftlib.errors import DataError


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 90))
@settings(max_examples=200, deadline=None)
def test_each_record_is_in_one_row_and_no_row_is_too_full(lengths: list[int], capacity: int) -> None:
    rows = plan_rows(lengths, capacity)
    assert sorted(record for row in rows for record in row) == list(range(len(lengths)))
    sums = [sum(lengths[record] for record in row) for row in rows]
    assert all(0 < total <= capacity for total in sums)
    # any two rows together are more than one row: else they would have been one
    assert sum(2 * total <= capacity for total in sums) <= 1


def test_a_record_goes_where_it_leaves_least_room() -> None:
    assert plan_rows([6, 7, 3, 4], 10) == [[1, 2], [0, 3]]


def test_rows_of_many_records_are_nearly_full() -> None:
    lengths = np.random.default_rng(0).integers(20, 700, 20_000)
    rows = plan_rows(lengths, 2048)
    assert len(rows) <= 1.01 * lengths.sum() / 2048


def test_a_record_longer_than_a_row_is_named() -> None:
    with pytest.raises(DataError, match="record 1 has 11 tokens and fits in no row of 10"):
        plan_rows([3, 11], 10)


def test_a_common_beginning_counts_once_in_a_row() -> None:
    generator = np.random.default_rng(0)
    begins = [generator.integers(3, 300, size).tolist() for size in (50, 40)]
    records = [begins[i % 2] + generator.integers(3, 300, 10 + i % 5).tolist() for i in range(40)]
    records += [generator.integers(300, 600, 30).tolist() for _ in range(4)]
    rows = Rows.of([TrainingRow(ids, ids) for ids in records])
    planned = plan_shared_rows(rows, 128)
    assert sorted(record for row in planned for record in row) == list(range(44))
    for row in planned:
        layout = lay_out([rows[record] for record in row], min_shared=16)
        assert len(layout.ids) <= 128
    assert len(planned) < 0.5 * len(plan_rows(rows.lengths, 128))
