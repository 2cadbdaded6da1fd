"""Which records share a row: best-fit decreasing over their lengths, no record split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
