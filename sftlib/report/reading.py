"""Shards as batches of small integers: the bytes of a Parquet file come in, one Codes a batch goes out. No row is ever
a Python object, so that the cost is that of reading the columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sftlib.artifacts.shards import GROUP_PREFIX
from sftlib.metrics.formulas import Array
from sftlib.report.arrow import numpy_of
from sftlib.report.vocabulary import CROSS, NONE, Codes, Membership, Vocabularies, Vocabulary

BATCH_ROWS = 262_144
_CODED = ("gold", "prediction", "reason", "source", "original_label")
COUNTED = (*_CODED, "score", "prompt_tokens", "new_tokens")  # and the groups: what figures are made of


def batch_readers(
    content: pa.Buffer, columns: Collection[str] | None = None
) -> Iterator[Callable[[], list[pa.RecordBatch]]]:
    """Calls that each read a part of the shard, page checksums verified, texts that repeat as dictionaries."""
    metadata = pq.read_metadata(pa.BufferReader(content))
    names = metadata.schema.to_arrow_schema().names
    wanted = None if columns is None else [name for name in names if name in columns]
    groups: list[int] = []
    rows = 0
    for place in range(metadata.num_row_groups):
        groups.append(place)
        rows += metadata.row_group(place).num_rows
        if rows >= BATCH_ROWS or place + 1 == metadata.num_row_groups:
            yield partial(_read, content, metadata, groups, wanted)
            groups, rows = [], 0


def _read(
    content: pa.Buffer, metadata: pq.FileMetaData, groups: list[int], columns: list[str] | None
) -> list[pa.RecordBatch]:
    file = pq.ParquetFile(
        pa.BufferReader(content), metadata=metadata, read_dictionary=_repeating(metadata),
        page_checksum_verification=True,
    )  # fmt: skip
    return file.read_row_groups(groups, columns=columns, use_threads=False).to_batches()


def read_batches(content: pa.Buffer, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The shard's batches, one after the other."""
    for read in batch_readers(content, columns):
        yield from read()


def _repeating(metadata: pq.FileMetaData) -> list[str]:
    """Paths of the columns whose texts repeat, those inside lists too."""
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    return [path for path in paths if path in _CODED or path.startswith(GROUP_PREFIX)]


def encode(batch: pa.RecordBatch, words: Vocabularies) -> Codes:
    """The batch as codes; new names join the vocabularies."""
    prediction = _column(batch, "prediction")
    groups = {column: _membership(batch, column, words.groups[column]) for column in words.columns}
    for name, (first, second) in words.crossings.items():
        groups[name] = crossed(
            groups[first], groups[second], words.groups[first], words.groups[second], words.groups[name]
        )
    return Codes(
        gold=_label_codes(_column(batch, "gold"), words.labels),
        outcome=_label_codes(prediction, words.labels, words.unknown),
        reason=_name_codes(_column(batch, "reason"), words.reasons),
        source=_name_codes(_column(batch, "source"), words.sources),
        original=_name_codes(_column(batch, "original_label"), words.originals),
        score=_floats(batch, "score"),
        groups=groups,
        tokens=(_sum(batch, "prompt_tokens"), _sum(batch, "new_tokens")),
    )


def _column(batch: pa.RecordBatch, name: str) -> pa.DictionaryArray:
    """A text column as a dictionary; one that the shard lacks is all null."""
    column = batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, pa.string())
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _recode(column: pa.DictionaryArray, table: list[int], null: int) -> Array:
    """Positions in the batch's own dictionary, put through `table`."""
    positions = numpy_of(column.indices, len(table)).astype(np.int64, copy=False)
    return np.array([*table, null], np.int64).take(positions, mode="clip")  # none is out of range: not looked for


def _label_codes(column: pa.DictionaryArray, labels: Vocabulary, unknown: dict[str, int] | None = None) -> Array:
    names, other = column.dictionary.to_pylist(), len(labels)
    codes = _recode(column, [labels.find(name, other) for name in names], other)
    if unknown is not None and any(labels.find(name, -1) < 0 for name in names):
        for entry in column.value_counts().to_pylist():
            name = entry["values"]
            if name is not None and labels.find(name, -1) < 0:
                unknown[name] = unknown.get(name, 0) + entry["counts"]
    return codes


def _name_codes(column: pa.DictionaryArray, words: Vocabulary) -> Array:
    null = words.code(NONE) if column.null_count else -1
    return _recode(column, [words.code(name) for name in column.dictionary.to_pylist()], null)


def _membership(batch: pa.RecordBatch, column: str, words: Vocabulary) -> Membership:
    name = GROUP_PREFIX + column
    if name in batch.schema.names and pa.types.is_list(batch.schema.field(name).type):
        return _several(batch.column(name), words)
    return Membership(np.arange(batch.num_rows), _name_codes(_column(batch, name), words))


def crossed(
    first: Membership, second: Membership, first_words: Vocabulary, second_words: Vocabulary, words: Vocabulary
) -> Membership:
    """Who belongs to which group of both columns; a record in several groups of a column is in each combination. One
    that has no group in either column has none here."""
    rows, left, right = first.rows, first.values, second.values
    if len(first.rows) != len(second.rows) or (first.rows != second.rows).any():
        starts = np.searchsorted(second.rows, first.rows, "left")
        counts = np.searchsorted(second.rows, first.rows, "right") - starts
        rows, left = np.repeat(first.rows, counts), np.repeat(first.values, counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        right = second.values[np.repeat(starts, counts) + within]
    keys = left * len(second_words) + right
    seen, place = np.unique(keys, return_inverse=True)
    names = [(first_words.names[key // len(second_words)], second_words.names[key % len(second_words)]) for key in seen]
    codes = [words.code(NONE if NONE in pair else CROSS.join(pair)) for pair in names]
    pairs = np.stack([rows, np.array(codes, np.int64)[place]])
    return Membership(*(pairs if len(np.unique(rows)) == len(rows) else np.unique(pairs, axis=1)))


def _several(column: pa.ListArray, words: Vocabulary) -> Membership:
    """A record in several groups is in each once; a record in none is in NONE."""
    rows = numpy_of(pc.list_parent_indices(column))
    values = _name_codes(_dictionary(pc.list_flatten(column)), words)
    lonely = np.setdiff1d(np.arange(len(column)), rows)
    if len(lonely):
        rows = np.concatenate([rows, lonely])
        values = np.concatenate([values, np.full(len(lonely), words.code(NONE))])
    pairs = np.unique(np.stack([rows, values]), axis=1)  # the same group named twice counts once
    return Membership(pairs[0], pairs[1])


def _dictionary(column: Any) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _floats(batch: pa.RecordBatch, name: str) -> Array:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    return numpy_of(batch.column(name).cast(pa.float64()), np.nan)


def _sum(batch: pa.RecordBatch, name: str) -> int:
    return int(pc.sum(batch.column(name)).as_py() or 0) if name in batch.schema.names else 0
