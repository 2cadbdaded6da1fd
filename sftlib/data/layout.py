"""Records as one row without padding: each behind the last, or as a tree in which tokens that records begin with stand once.

Segments lie in depth-first order, so that what may see a segment is one stretch of the row: the segment itself and all
behind it up to `until`. A token sees the tokens before it on its own path, and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.config.batching import MIN_SHARED
from sftlib.data.rendering import IGNORED

Ints = npt.NDArray[np.int64]
_MAX_DEPTH = 48


@dataclass(frozen=True)
class Layout:
    """A row. Token `targets[j]` is predicted at row position `kept[picks[j]]`, by `weights[j]` records."""

    ids: Ints
    positions: Ints
    segments: npt.NDArray[np.int32]  # start, end, until, position of the first token
    kept: Ints
    picks: Ints
    targets: Ints
    weights: npt.NDArray[np.float32]
    places: list[Ints]  # for each record, where its tokens lie in the row
    record_tokens: int  # what the records hold; len(ids) is what is computed


def lay_out(records: Sequence[dict[str, Any]], *, share: bool = True, min_shared: int = MIN_SHARED) -> Layout:
    """The row of these records (`input_ids`, `labels`); with `share`, common beginnings stand once."""
    tokens = [np.asarray(record["input_ids"], dtype=np.int64) for record in records]
    segments, parts, paths = [], [], [[] for _ in tokens]  # type: ignore[var-annotated]
    length = 0
    for segment in _tree(tokens, min_shared) if share else _forest(tokens):
        ids = tokens[segment.records[0]][segment.begin : segment.end]
        parts.append(ids)
        segments.append([length, length + len(ids), 0, segment.begin])
        for record in segment.records:
            paths[record].append(np.arange(length, length + len(ids)))
        length += len(ids)
    _close(segments, [path[-1][-1] + 1 if path else 0 for path in paths], paths)
    places = [np.concatenate(path) if path else np.zeros(0, np.int64) for path in paths]
    table = np.asarray(segments, dtype=np.int32).reshape(-1, 4)
    positions = [np.arange(first, first + end - start) for start, end, _, first in segments]
    kept, picks, targets, weights = _supervision(places, [record["labels"] for record in records])
    return Layout(_joined(parts), _joined(positions), table, kept, picks, targets, weights, places,
                  sum(len(ids) for ids in tokens))  # fmt: skip


@dataclass(frozen=True)
class _Segment:
    """Tokens `begin` to `end` of these records, which are the same in all of them."""

    records: list[int]
    begin: int
    end: int


def _forest(tokens: list[Ints]) -> Iterator[_Segment]:
    return (_Segment([record], 0, len(ids)) for record, ids in enumerate(tokens) if len(ids))


def _tree(tokens: list[Ints], min_shared: int) -> Iterator[_Segment]:
    """Segments in depth-first order. Sorted records that begin alike are neighbours."""
    order = sorted(range(len(tokens)), key=lambda record: tokens[record].astype(">i4").tobytes())
    alike = [0, *(_common(tokens[a], tokens[b]) for a, b in itertools.pairwise(order))]

    def below(low: int, high: int, begin: int, depth: int) -> Iterator[_Segment]:
        if high - low == 1 or depth > _MAX_DEPTH:
            yield from (_Segment([r], begin, len(tokens[r])) for r in order[low:high] if len(tokens[r]) > begin)
            return
        common = min(alike[low + 1 : high])
        if common - begin >= min_shared:
            yield _Segment(order[low:high], begin, common)
            begin = common
        edges = [low, *(i for i in range(low + 1, high) if alike[i] - begin < min_shared), high]
        for left, right in itertools.pairwise(edges):
            yield from below(left, right, begin, depth + 1)

    return below(0, len(order), 0, 0) if order else iter(())


def _common(a: Ints, b: Ints) -> int:
    """How many tokens two records share at their beginning."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter


def _close(segments: list[list[int]], ends: list[int], paths: list[list[Ints]]) -> None:
    """Set `until`: where the last record that passes through a segment ends."""
    of_start = {segment[0]: segment for segment in segments}
    for end, path in zip(ends, paths, strict=True):
        for stretch in path:
            segment = of_start[int(stretch[0])]
            segment[2] = max(segment[2], int(end))


def _supervision(places: list[Ints], labels: list[Sequence[int]]) -> tuple[Ints, Ints, Ints, npt.NDArray[np.float32]]:
    """Where which token is predicted, and by how many records: a shared token is scored once and counts for all."""
    positions, targets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for place, row in zip(places, labels, strict=True):
        wanted = np.asarray(row, dtype=np.int64)
        supervised = np.flatnonzero(wanted[1:] != IGNORED)  # the token at 0 follows nothing: it is never predicted
        positions.append(place[supervised])
        targets.append(wanted[supervised + 1])
    pairs, counts = np.unique(
        np.stack([np.concatenate(positions), np.concatenate(targets)]), axis=1, return_counts=True
    )
    kept, picks = np.unique(pairs[0], return_inverse=True)
    return kept, picks, pairs[1], counts.astype(np.float32)


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
