"""Near-duplicates between two lists of texts: MinHash signatures and LSH in numpy, candidates checked exactly.

A text is the set of its 5-byte pieces. One hash a piece fills 128 bins (one-permutation hashing; an empty bin borrows
from another by a fixed order), so that a signature costs one pass whatever its width. 21 bands of 6 bins propose pairs: a
pair of similarity .8 is proposed with probability .998, one of .4 with .08. What is proposed is measured on the sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PIECE_BYTES = 5
SIMILAR = 0.8  # share of pieces in common (Jaccard) from which two texts count as near-duplicates
FEWEST_PIECES = 20  # shorter texts say too little: one word in common would make them alike
_BINS, _BANDS, _ROWS = 128, 21, 6
_EMPTY = np.uint32(0xFFFFFFFF)
_CHUNK = 4096  # texts hashed at once
_MOST_CANDIDATES = 24  # a text and a band; thousands of texts of one mould need no more to find one that is alike
_SEPARATOR = 0xFF  # in no UTF-8 text
_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def near_pairs(first: Sequence[str], second: Sequence[str]) -> dict[int, tuple[int, float]]:
    """Place in `second` -> the most similar place found in `first`, and the similarity; those of SIMILAR and more."""
    ours, theirs = signatures(first), signatures(second)
    pieces: dict[tuple[int, int], frozenset[bytes]] = {}
    best: dict[int, tuple[int, float]] = {}
    for there, here in _candidates(ours, theirs):
        if best.get(there, (0, 0.0))[1] == 1.0:
            continue
        a = pieces.get((0, here)) or pieces.setdefault((0, here), pieces_of(first[here]))
        b = pieces.get((1, there)) or pieces.setdefault((1, there), pieces_of(second[there]))
        if min(len(a), len(b)) < max(FEWEST_PIECES, SIMILAR * max(len(a), len(b))):
            continue
        common = len(a & b)
        similarity = common / (len(a) + len(b) - common)
        if similarity >= SIMILAR and similarity > best.get(there, (0, 0.0))[1]:
            best[there] = (here, similarity)
    return best


def pieces_of(text: str) -> frozenset[bytes]:
    data = text.encode("utf-8", "replace")
    return frozenset(data[i : i + PIECE_BYTES] for i in range(len(data) - PIECE_BYTES + 1))


def signatures(texts: Sequence[str]) -> Any:
    """One row of 128 hashes a text; a text without pieces has _EMPTY everywhere."""
    rows = [_signatures(texts[start : start + _CHUNK]) for start in range(0, len(texts), _CHUNK)]
    return np.concatenate(rows) if rows else np.empty((0, _BINS), np.uint32)


def _signatures(texts: Sequence[str]) -> Any:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    buffer = np.frombuffer(bytes([_SEPARATOR]).join(encoded) + bytes([_SEPARATOR] * PIECE_BYTES), np.uint8)
    owner = np.repeat(np.arange(len(texts)), [len(data) + 1 for data in encoded])
    count = len(owner)
    value, is_inside = np.zeros(count, np.uint64), np.ones(count, bool)
    for offset in range(PIECE_BYTES):
        part = buffer[offset : offset + count]
        value |= part.astype(np.uint64) << np.uint64(8 * offset)
        is_inside &= part != _SEPARATOR
    hashes, owner = _mixed(value[is_inside]), owner[is_inside]
    signature = np.full(len(texts) * _BINS, _EMPTY)
    places = owner * _BINS + (hashes >> np.uint64(57)).astype(np.int64)
    np.minimum.at(signature, places, ((hashes >> np.uint64(20)) & np.uint64(0xFFFFFFFE)).astype(np.uint32))
    return _densified(signature.reshape(-1, _BINS))


def _mixed(values: Any) -> Any:
    values = values * _A
    values ^= values >> np.uint64(29)
    values *= _B
    return values ^ (values >> np.uint64(32))


def _densified(signature: Any) -> Any:
    """An empty bin takes the value of the first full one in an order that is its own and the same for all texts."""
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(_BINS), (_BINS, 1)), axis=1)
    full = signature.copy()
    rows, bins = np.nonzero((signature == _EMPTY) & (signature != _EMPTY).any(axis=1, keepdims=True))
    for turn in range(_BINS):
        if not len(rows):
            break
        taken = signature[rows, orders[bins, turn]]
        found = taken != _EMPTY
        full[rows[found], bins[found]] = taken[found]
        rows, bins = rows[~found], bins[~found]
    return full


def _candidates(ours: Any, theirs: Any) -> list[tuple[int, int]]:
    """(place in the second list, place in the first) of texts that agree in a band."""
    found = []
    here, there = np.nonzero(ours[:, 0] != _EMPTY)[0], np.nonzero(theirs[:, 0] != _EMPTY)[0]
    factors = np.random.default_rng(1).integers(1, 2**63, _ROWS, dtype=np.uint64) | np.uint64(1)
    for band in range(_BANDS):
        columns = slice(band * _ROWS, (band + 1) * _ROWS)
        keys = _mixed((ours[here, columns].astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64))
        wanted = _mixed((theirs[there, columns].astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64))
        order = np.argsort(keys, kind="stable")
        low, high = np.searchsorted(keys[order], wanted, "left"), np.searchsorted(keys[order], wanted, "right")
        counts = np.minimum(high - low, _MOST_CANDIDATES)
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found.append(np.stack([np.repeat(there, counts), here[order[np.repeat(low, counts) + steps]]], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    agreement = np.concatenate(
        [
            (theirs[part[:, 0]] == ours[part[:, 1]]).mean(axis=1)
            for part in np.array_split(pairs, len(pairs) // 65536 + 1)
        ]
    )
    kept = agreement >= SIMILAR - 0.2  # four standard deviations below, for a text of 60 pieces
    return [(int(a), int(b)) for a, b in pairs[kept][np.argsort(-agreement[kept], kind="stable")]]
