"""Which records share a row: best-fit decreasing over their lengths, no record split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sftlib.data.layout import MIN_SHARED
from sftlib.errors import DataError


def plan_rows(lengths: Sequence[int] | np.ndarray, capacity: int) -> list[list[int]]:
    """Rows of record numbers, none above `capacity` tokens: each record, longest first, goes where it leaves least room."""
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and (longest := int(sizes.max())) > capacity:
        raise DataError(f"record {int(sizes.argmax())} has {longest} tokens and fits in no row of {capacity}")
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(capacity + 1)]  # room -> rows that have exactly this much left
    rooms = 0  # bit r is set where open_rows[r] is not empty
    order = np.argsort(-sizes, kind="stable")
    for record, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
        else:
            room, row = capacity, []
            rows.append(row)
        row.append(record)
        open_rows[room - size].append(row)
        rooms |= 1 << (room - size)
    return rows


def plan_shared_rows(rows: Any, capacity: int, min_shared: int = MIN_SHARED) -> list[list[int]]:
    """Rows whose records begin alike, where the common beginning counts once; records without company are packed plainly."""
    groups: dict[bytes, list[int]] = {}
    for record in range(len(rows)):
        ids = rows[record]["input_ids"]
        groups.setdefault(np.asarray(ids[:min_shared], dtype=">i4").tobytes(), []).append(record)
    planned: list[list[int]] = []
    alone: list[int] = []
    for members in groups.values():
        if len(members) == 1:
            alone += members
            continue
        ids = sorted(rows[record]["input_ids"] for record in members)
        common = _common(ids[0], ids[-1])  # of sorted records, the first and the last share least
        own = [len(rows[record]["input_ids"]) - common for record in members]
        planned += [[members[i] for i in row] for row in plan_rows(own, capacity - common)]
    lengths = [len(rows[record]["input_ids"]) for record in alone]
    return planned + [[alone[i] for i in row] for row in plan_rows(lengths, capacity)]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
