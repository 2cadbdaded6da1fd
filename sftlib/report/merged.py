"""predictions.parquet: batches of all cells come in, in order, and one file with a `cell` column in front goes out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.atomic import replacing
from sftlib.artifacts.shards import ROW_GROUP_ROWS
from sftlib.errors import CorruptError
from sftlib.report.arrow import repeated
from sftlib.report.vocabulary import GROUP_PREFIX

Write = Callable[[str, pa.RecordBatch], None]


@contextlib.contextmanager
def merged_writer(target: Path, group_columns: Sequence[str]) -> Iterator[Write]:
    """Yield a function that appends a batch of a cell; when the block ends well, the file is there."""
    with replacing(target) as temporary:
        writer = _MergedWriter(temporary)
        try:
            yield writer.write
            writer.finish(group_columns)
        finally:
            writer.close()


class _MergedWriter:
    """Takes its schema from the first batch; no row is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def write(self, cell: str, batch: pa.RecordBatch) -> None:
        schema = self._schema or self._open(batch.schema)
        names = repeated(cell, batch.num_rows)
        columns = [_conform(batch, field) for field in list(schema)[1:]]
        whole = pa.RecordBatch.from_arrays([names, *columns], schema=schema)
        self._writer.write_batch(whole, row_group_size=ROW_GROUP_ROWS)

    def finish(self, group_columns: Sequence[str]) -> None:
        """Where no shard was usable the file still exists, empty, with the columns that a reader asks for."""
        if self._schema is None:
            texts = ["sample_id", "gold", "prediction", *(GROUP_PREFIX + name for name in group_columns)]
            self._open(
                pa.schema([(texts[0], pa.string()), ("row", pa.int64()), *((n, pa.string()) for n in texts[1:])])
            )

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, schema: pa.Schema) -> pa.Schema:
        cell = pa.field("cell", pa.dictionary(pa.int32(), pa.string()))
        self._schema = pa.schema([cell, *schema])
        repeating = [field.name for field in self._schema if pa.types.is_dictionary(field.type)]
        # Without the Arrow schema readers see plain text columns, not the dictionaries that we wrote from. Ids and scores
        # hardly repeat: trying to make dictionaries of them costs a third of the time.
        self._writer = pq.ParquetWriter(
            self.path, self._schema, compression="zstd", write_page_checksum=True, store_schema=False,
            use_dictionary=repeating, column_encoding={"row": "DELTA_BINARY_PACKED"},
        )  # fmt: skip
        if schema.metadata:
            self._writer.add_key_value_metadata(schema.metadata)
        return self._schema


def _conform(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """The batch's column as the file has it; null where this shard lacks it."""
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise CorruptError(
            f"column {field.name!r} is {column.type} in one shard and {field.type} in another: sft rerun"
        ) from None
