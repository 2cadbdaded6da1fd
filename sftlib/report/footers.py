"""The footer of a Parquet file as plain lists: bytes come in, fields that can be changed go out, and back again.

Thrift's compact protocol, as far as Parquet's FileMetaData uses it. A struct is {field id: (type, value)}; a list is
(element type, values). Needed because no library offers to move column chunks without decoding them."""

from __future__ import annotations

from typing import Any

MAGIC = b"PAR1"
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_NUMBERS = frozenset({BYTE, I16, I32, I64})
Struct = dict[int, tuple[int, Any]]
Sequence = tuple[int, list[Any]]


def footer_span(content: bytes | memoryview) -> tuple[int, int]:
    """Where the footer of a Parquet file begins and ends."""
    if len(content) < 12 or bytes(content[-4:]) != MAGIC or bytes(content[:4]) != MAGIC:
        raise ValueError("not a Parquet file: its first and last four bytes are not PAR1")
    end = len(content) - 8
    start = end - int.from_bytes(content[end : end + 4], "little")
    if start < 4:
        raise ValueError("not a Parquet file: the length of its footer is longer than the file")
    return start, end


def read_footer(content: bytes | memoryview) -> Struct:
    """FileMetaData of a whole file in memory."""
    start, end = footer_span(content)
    return _Reader(bytes(content[start:end])).struct()


def footer_bytes(metadata: Struct) -> bytes:
    """FileMetaData, its length and the closing magic."""
    out = bytearray()
    _write_struct(out, metadata)
    return bytes(out) + len(out).to_bytes(4, "little") + MAGIC


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while True:
            head = self.data[self.at]
            self.at += 1
            if not head:
                return fields
            step, kind = head >> 4, head & 15
            number = number + step if step else self._number()
            fields[number] = (kind, kind == TRUE if kind in (TRUE, FALSE) else self._value(kind))

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS and kind != BYTE:
            return self._number()
        if kind == BINARY:
            return self._take(self._varint())
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            return self._list()
        if kind in (TRUE, FALSE, BYTE):  # an element of a list: a byte of its own
            return self._take(1)
        if kind == DOUBLE:
            return self._take(8)
        raise ValueError(f"type {kind} does not occur in a Parquet footer")

    def _list(self) -> Sequence:
        head = self.data[self.at]
        self.at += 1
        size, kind = head >> 4, head & 15
        count = self._varint() if size == 15 else size
        return kind, [self._value(kind) for _ in range(count)]

    def _take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number in sorted(fields):
        kind, value = fields[number]
        if kind in (TRUE, FALSE):
            kind = TRUE if value else FALSE
        if 0 < number - last < 16:
            out.append((number - last) << 4 | kind)
        else:
            out.append(kind)
            _write_number(out, number)
        last = number
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, value)
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _NUMBERS and kind != BYTE:
        _write_number(out, value)
    elif kind == BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind in (LIST, SET):
        element, values = value
        if len(values) < 15:
            out.append(len(values) << 4 | element)
        else:
            out.append(0xF0 | element)
            _write_varint(out, len(values))
        for entry in values:
            _write_value(out, element, entry)
    else:  # bytes of a fixed size, as they were read
        out += value


def _write_number(out: bytearray, value: int) -> None:
    _write_varint(out, (value << 1) ^ (value >> 63))


def _write_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
