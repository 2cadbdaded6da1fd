"""Whether ids of foreign records repeat: text columns come in, 64-bit hashes go out, and repeated ones are found by a sort.

Equal ids have equal hashes, so that nothing that repeats is missed; ids that only share a hash are told apart by their
text. Ten million ids cost 80 MB this way; as texts in a hash table they cost a gigabyte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sftlib.errors import DataError
from sftlib.metrics.formulas import Array
from sftlib.report.foreign.columns import text_column
from sftlib.report.foreign.sources import Source

_SEED, _FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD)
WORD = 8
NAMED_IDS = 3  # of those that repeat


def id_hashes(column: pa.StringArray) -> Array:
    """One number for each text."""
    n = len(column)
    if not n:
        return np.empty(0, np.uint64)
    bounds = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + n + 1].astype(np.int64)
    content = column.buffers()[2]
    data = np.frombuffer(content, np.uint8) if content else np.empty(0, np.uint8)
    lengths = np.diff(bounds)
    result = np.empty(n, np.uint64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        result[rows] = _hash_block(_block(data, bounds[rows], int(length), len(rows) == n), int(length))
    return result


def _block(data: Array, starts: Array, length: int, is_whole: bool) -> Array:
    """The texts of one length as rows of bytes, filled up with zeros to whole words."""
    words = -(-length // WORD)
    block = np.zeros((len(starts), words * WORD), np.uint8)
    if is_whole:
        block[:, :length] = data[starts[0] : starts[0] + len(starts) * length].reshape(-1, length)
    else:
        block[:, :length] = data[starts[:, None] + np.arange(length)]
    return block.view(np.uint64)


def _hash_block(words: Array, length: int) -> Array:
    mixed = np.full(len(words), (length + 1) * int(_SEED) & 0xFFFFFFFFFFFFFFFF, np.uint64)
    for place in range(words.shape[1]):
        mixed = (mixed ^ words[:, place]) * _FACTOR
        mixed ^= mixed >> np.uint64(32)
    return mixed


def repeated_hashes(hashes: Array) -> Array:
    """The hashes that occur more than once; sorts `hashes` in place."""
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def check_unique(sources: Sequence[Source], column: str, hashes: Array) -> None:
    """An id names one record; those that do not are named with their places."""
    suspects = repeated_hashes(hashes)
    if not len(suspects):
        return
    places: dict[str, list[str]] = {}
    for source in sources:
        first = 1
        for rows, load in source.parts([column]):
            ids = text_column(load().combine_chunks().column(0).combine_chunks())
            ids = ids if isinstance(ids, pa.Array) else ids.chunk(0)
            for row in np.flatnonzero(np.isin(id_hashes(ids), suspects)):
                places.setdefault(ids[int(row)].as_py(), []).append(f"{source.path} record {first + row}")
            first += rows
    twice = {name: found for name, found in places.items() if len(found) > 1}
    if twice:
        named = "; ".join(
            f"{name!r} at {', '.join(found[:NAMED_IDS])}" for name, found in list(twice.items())[:NAMED_IDS]
        )
        raise DataError(
            f"column {column!r}: {len(twice):,} ids stand at more than one record ({named}): "
            "an id names one record; name another --id, or remove what is there twice"
        )
