"""Which prompts run together: long first, as many as the token budget holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

BATCH_TOKENS = 4096  # where predict.batch_tokens says nothing


def token_batches(lengths: Sequence[int], budget: int, most: int | None = None) -> Iterator[list[int]]:
    """Positions in batches whose padded size stays within `budget`, of at most `most` rows; a single longer one runs
    alone."""
    batch: list[int] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        width = max(width, lengths[position])
        if batch and (width * (len(batch) + 1) > budget or len(batch) == most):
            yield batch
            batch, width = [], lengths[position]
        batch.append(position)
    if batch:
        yield batch


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of one width, padded on the left, and their attention masks."""
    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    return ids, [[0] * (width - len(row)) + [1] * len(row) for row in rows]
