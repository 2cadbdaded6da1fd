"""Arrow columns to NumPy and back, without pandas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sftlib.metrics.formulas import Array


def numpy_of(column: pa.Array, null: float = 0) -> Array:
    """A column of numbers, `null` where it has none. Written out because pyarrow's own ways, pa.array and pa.scalar
    among them, import pandas where it is installed: a third of a second of every merge."""
    kind = np.dtype({"double": "float64", "float": "float32"}.get(str(column.type), str(column.type)))
    content = column.buffers()[1]
    if content is None:
        return np.full(len(column), null)
    values = np.frombuffer(content, kind, column.offset + len(column))[column.offset :]
    if not column.null_count:
        return values
    return np.where(numpy_of(column.is_valid().cast(pa.uint8())) == 1, values, null)


def repeated(text: str, count: int) -> pa.DictionaryArray:
    """A text column that says the same in every row."""
    ends = pa.py_buffer(np.array([0, len(text.encode())], np.int32).tobytes())
    word = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(text.encode())])
    zeros = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(bytes(4 * count))])
    return pa.DictionaryArray.from_arrays(zeros, word)


def array_of(values: Array, is_null: Array | None = None) -> pa.Array:
    """NumPy numbers as a column, null where `is_null`; the way back of numpy_of, and for the same reason not pa.array."""
    kind = {"float64": pa.float64(), "int32": pa.int32()}.get(values.dtype.name, pa.int64())
    data = pa.py_buffer(np.ascontiguousarray(values))
    if is_null is None or not is_null.any():
        return pa.Array.from_buffers(kind, len(values), [None, data])
    valid = pa.py_buffer(np.packbits(~is_null, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, data])


def texts_of(words: Sequence[str]) -> pa.Array:
    """Texts as a column."""
    parts = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(parts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(parts))])
