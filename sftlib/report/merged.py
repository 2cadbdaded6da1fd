"""predictions.parquet: whole shards come in as the bytes that were verified, one file with a `cell` column in front goes
out. Column chunks are copied as they are; only the footer is written anew, so that a merge costs what a copy costs."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.atomic import replacing
from sftlib.artifacts.shards import GROUP_PREFIX, ROW_GROUP_ROWS
from sftlib.errors import CorruptError
from sftlib.report.arrow import repeated
from sftlib.report.footers import I64, LIST, MAGIC, STRUCT, Struct, footer_bytes, footer_span, read_footer
from sftlib.report.linked import MOST_BYTES, linked_writer

# Fields of the Parquet footer (parquet.thrift), by the struct that they stand in.
SCHEMA, NUM_ROWS, ROW_GROUPS, KEY_VALUES, COLUMN_ORDERS = 2, 3, 4, 5, 7
NUM_CHILDREN = 5
COLUMNS, TOTAL_BYTES, GROUP_ROWS, FILE_OFFSET, COMPRESSED_BYTES, ORDINAL = 1, 2, 3, 5, 6, 7
CHUNK_OFFSET, CHUNK_METADATA, CHUNK_INDEXES = 2, 3, (4, 5, 6, 7)  # page indexes stay behind
PAGE_OFFSETS, BLOOM_FILTERS = (9, 10, 11), (14, 15)
MOST_WAITING = 2  # shards that are counted and not yet written: they are held in memory
ARROW_SCHEMA = b"ARROW:schema"  # says nothing of the cell column; readers see plain text columns without it


class Append(Protocol):
    def __call__(self, cell: str, shard: Path, content: pa.Buffer) -> None: ...


@contextlib.contextmanager
def predictions_writer(target: Path, group_columns: Sequence[str], num_bytes: int) -> Iterator[Append]:
    """One file, or beyond MOST_BYTES a folder of links; what stood at `target` is replaced when the block ends well."""
    if num_bytes > MOST_BYTES:
        with linked_writer(target) as folder:
            yield lambda cell, shard, content: folder.append(cell, shard)
    else:
        with merged_writer(target, group_columns) as append:
            yield lambda cell, shard, content: append(cell, content)


@contextlib.contextmanager
def merged_writer(target: Path, group_columns: Sequence[str]) -> Iterator[Callable[[str, pa.Buffer], None]]:
    """Yield a function that appends a shard of a cell; when the block ends well, the file is there.

    A thread does the writing: a disk is waited for, and meanwhile shards are counted."""
    with replacing(target) as temporary, temporary.open("wb", buffering=0) as stream, ThreadPoolExecutor(1) as writer:
        merged, waiting = _Merged(stream), deque[Future[None]]()

        def append(cell: str, content: pa.Buffer) -> None:
            waiting.append(writer.submit(merged.append, cell, content))
            while len(waiting) > MOST_WAITING:
                waiting.popleft().result()

        yield append
        for future in waiting:
            future.result()
        merged.finish(group_columns)
        if target.is_dir():  # of an earlier merge, when there was more
            shutil.rmtree(target)


class _Merged:
    """Takes its schema from the first shard; one that differs is written anew in the form of the first."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.at = stream, 0
        self._write(MAGIC)
        self.footer: Struct | None = None
        self._schema: Any = None  # of the shards, without the cell column
        self._arrow_schema: pa.Schema | None = None
        self._names: dict[tuple[str, int], tuple[bytes, Struct]] = {}

    def append(self, cell: str, content: pa.Buffer) -> None:
        """Copy a shard behind what is there."""
        footer = read_footer(memoryview(content))
        if self.footer is None:
            self._open(content, footer)
        elif footer[SCHEMA] != self._schema:
            content = _conform(content, self._arrow_schema)
            footer = read_footer(memoryview(content))
        assert self.footer is not None
        data, shift, merged = memoryview(content), self.at, self.footer[ROW_GROUPS][1][1]
        self._write(data[: footer_span(data)[0]])  # the magic in front comes along: offsets then all move alike
        for group in footer[ROW_GROUPS][1][1]:
            _move(group, shift)
            self._name(cell, group)
            group.pop(ORDINAL, None)  # optional, and too small for more than 32,767 row groups
            merged.append(group)
        self.footer[NUM_ROWS] = (I64, self.footer[NUM_ROWS][1] + footer[NUM_ROWS][1])

    def finish(self, group_columns: Sequence[str]) -> None:
        """Where no shard was usable the file still exists, empty, with the columns that a reader asks for."""
        if self.footer is None:
            texts = ["gold", "prediction", *(GROUP_PREFIX + name for name in group_columns)]
            schema = [("sample_id", pa.string()), ("row", pa.int64()), *((name, pa.string()) for name in texts)]
            empty = encoded(pa.schema(schema).empty_table())
            self._open(empty, read_footer(memoryview(empty)))
        assert self.footer is not None
        self._write(footer_bytes(self.footer))

    def _open(self, content: pa.Buffer, footer: Struct) -> None:
        kind, (element, fields) = footer[SCHEMA]
        self._schema = (kind, (element, [dict(field) for field in fields]))
        self._arrow_schema = pq.read_schema(pa.BufferReader(content))
        _, named = self._cell_chunk("", 1)
        root = {**fields[0], NUM_CHILDREN: (fields[0][NUM_CHILDREN][0], fields[0][NUM_CHILDREN][1] + 1)}
        self.footer = dict(footer)
        self.footer[SCHEMA] = (kind, (element, [root, named[SCHEMA][1][1][1], *fields[1:]]))
        self.footer[NUM_ROWS] = (I64, 0)
        self.footer[ROW_GROUPS] = (LIST, (STRUCT, []))
        if COLUMN_ORDERS in footer:
            kind, (element, orders) = footer[COLUMN_ORDERS]
            self.footer[COLUMN_ORDERS] = (kind, (element, [orders[0], *orders]))
        if KEY_VALUES in footer:
            kind, (element, pairs) = footer[KEY_VALUES]
            self.footer[KEY_VALUES] = (kind, (element, [pair for pair in pairs if pair[1][1] != ARROW_SCHEMA]))

    def _name(self, cell: str, group: Struct) -> None:
        """Put the cell's name in front of a row group: one chunk that says the same in every row."""
        data, footer = self._cell_chunk(cell, group[GROUP_ROWS][1])
        start = footer_span(data)[0]
        shift = self.at
        self._write(memoryview(data)[:start])
        own = _copied(footer[ROW_GROUPS][1][1][0])
        _move(own, shift)
        kind, (element, chunks) = group[COLUMNS]
        group[COLUMNS] = (kind, (element, [*own[COLUMNS][1][1], *chunks]))
        for field in (TOTAL_BYTES, COMPRESSED_BYTES):
            if field in group:
                group[field] = (I64, group[field][1] + own[field][1])

    def _cell_chunk(self, cell: str, rows: int) -> tuple[bytes, Struct]:
        """A Parquet file of one column, by which pyarrow writes the chunk that we lift out of it."""
        if (cell, rows) not in self._names:
            table = pa.table({"cell": repeated(cell, rows)})
            data = encoded(table, rows).to_pybytes()
            self._names[cell, rows] = data, read_footer(data)
        return self._names[cell, rows]

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self.stream.write(view) :]
        self.at += len(data)


def _copied(group: Struct) -> Struct:
    """A row group that may be changed: the chunk of a name is used many times."""
    kind, (element, chunks) = group[COLUMNS]
    own = [{**chunk, CHUNK_METADATA: (STRUCT, dict(chunk[CHUNK_METADATA][1]))} for chunk in chunks]
    return {**group, COLUMNS: (kind, (element, own))}


def _move(group: Struct, shift: int) -> None:
    """Every offset of a row group, by as much as its bytes moved."""
    if FILE_OFFSET in group:
        group[FILE_OFFSET] = (I64, group[FILE_OFFSET][1] + shift)
    for chunk in group[COLUMNS][1][1]:
        if chunk[CHUNK_OFFSET][1]:
            chunk[CHUNK_OFFSET] = (I64, chunk[CHUNK_OFFSET][1] + shift)
        for field in CHUNK_INDEXES:
            chunk.pop(field, None)
        metadata = chunk[CHUNK_METADATA][1]
        for field in PAGE_OFFSETS:
            if field in metadata:
                metadata[field] = (I64, metadata[field][1] + shift)
        for field in BLOOM_FILTERS:
            metadata.pop(field, None)


def encoded(table: pa.Table, rows: int = ROW_GROUP_ROWS) -> pa.Buffer:
    """A table as a Parquet file in memory. Only texts that repeat get dictionaries (to try it with ids and scores costs a
    third of the time), and only the row number has statistics (those of repeated texts cost another third)."""
    sink = pa.BufferOutputStream()
    repeating = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    counting = {"row": "DELTA_BINARY_PACKED"} if "row" in table.schema.names else {}
    pq.write_table(
        table, sink, compression="zstd", row_group_size=max(1, rows), write_page_checksum=True, store_schema=False,
        use_dictionary=repeating, column_encoding=counting or None, write_statistics=list(counting) or False,
    )  # fmt: skip
    return sink.getvalue()


def _conform(content: pa.Buffer, schema: pa.Schema | None) -> pa.Buffer:
    """The shard with the columns of the first one; null where this shard lacks one."""
    assert schema is not None
    table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    columns = [_conformed(table, field) for field in schema]
    return encoded(pa.table(columns, schema=schema))


def _conformed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.schema.names:
        return pa.nulls(table.num_rows, field.type)
    try:
        return table.column(field.name).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        kind = table.schema.field(field.name).type
        raise CorruptError(
            f"column {field.name!r} is {kind} in one shard and {field.type} in another: sft rerun"
        ) from None
