"""Which records share a row: best-fit decreasing over their lengths, no record split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sftlib.config.batching import MIN_SHARED
from sftlib.data.rows import Rows
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


def plan_shared_rows(rows: Rows, capacity: int) -> list[list[int]]:
    """Rows whose records begin alike, where the common beginning counts once; records without company are packed plainly."""
    lengths = rows.lengths
    groups: dict[bytes, list[int]] = {}
    for record, (start, length) in enumerate(zip(rows.offsets.tolist(), lengths.tolist(), strict=False)):
        groups.setdefault(rows.ids[start : start + min(length, MIN_SHARED)].tobytes(), []).append(record)
    alone = [record for members in groups.values() if len(members) == 1 for record in members]
    planned = [[alone[i] for i in row] for row in plan_rows(lengths[alone], capacity)]
    for members in groups.values():
        if len(members) > 1:
            common = _common(rows, members)
            planned += [[members[i] for i in row] for row in plan_rows(lengths[members] - common, capacity - common)]
    return planned


def _common(rows: Rows, members: list[int]) -> int:
    """How many tokens all of these records begin with."""
    starts, lengths = rows.offsets[members], rows.lengths[members]
    common = int(lengths.min())
    first = rows.ids[starts[0] : starts[0] + common]
    for start in starts[1:].tolist():
        different = np.flatnonzero(rows.ids[start : start + common] != first[:common])
        common = int(different[0]) if len(different) else common
    return common
