"""Rows as a trainer and a packer see them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sftlib.data.rendering import IGNORED, TrainingRow
from sftlib.data.rows import Rows

ROWS = [
    TrainingRow([5, 6, 7], [IGNORED, 6, 7]),
    TrainingRow([70000], [70000]),
    TrainingRow([1, 2, 3, 4], [IGNORED, IGNORED, IGNORED, 4]),
]


def test_each_row_comes_back_as_it_went_in() -> None:
    rows = Rows.of(ROWS, {"too long": 2})
    assert len(rows) == 3 and rows.lengths.tolist() == [3, 1, 4]
    assert rows.tokens == 8 and rows.supervised_tokens == 4 and rows.dropped == {"too long": 2}
    assert list(rows) == [{"input_ids": row.ids, "labels": row.labels} for row in ROWS]
    assert rows[-1] == rows[2] and rows[np.int64(1)] == rows[1]
    with pytest.raises(IndexError):
        rows[3]


def as_lists(row: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: values.tolist() for name, values in row.items()}


def test_the_trainers_data_set_looks_rows_up() -> None:
    rows = Rows.of(ROWS)
    dataset = rows.as_dataset()
    assert len(dataset) == 3 and as_lists(dataset[1]) == rows[1]
    assert [labels.tolist() for labels in dataset[[2, 0]]["labels"]] == [rows[2]["labels"], rows[0]["labels"]]
    assert dataset.column_names == ["row"]  # no token is copied into it
    copied = pickle.loads(pickle.dumps(dataset))  # noqa: S301  a spawned data worker gets it so
    assert as_lists(copied[0]) == rows[0]
