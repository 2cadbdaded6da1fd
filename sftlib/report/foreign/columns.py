"""Foreign columns in the form of a shard: text columns of any spelling come in, labels, reasons and groups go out. Every
distinct text is looked at once, not every row."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sftlib.config.data import TaskSection
from sftlib.data.parsing import parse_label
from sftlib.errors import DataError
from sftlib.metrics.formulas import Array
from sftlib.report.arrow import array_of, numpy_of, texts_of

MISSING = "missing"  # the reason of an answer that is an empty cell
_WHOLE = re.compile(r"(-?\d+)\.0+")  # 1.0 is how pandas writes the label 1 in a column with holes


def plain_text(value: str) -> str:
    """A label as it is compared: without spaces around it, `1.0` as `1`."""
    text = value.strip()
    match = _WHOLE.fullmatch(text)
    return match.group(1) if match else text


def text_column(column: pa.Array) -> pa.Array:
    """Any column as text; true and false in small letters."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def coded(column: pa.Array) -> tuple[list[str], Array]:
    """(distinct texts, code of each row; -1 where there is none or only spaces)."""
    if not pa.types.is_dictionary(column.type) or not pa.types.is_string(column.type.value_type):
        column = text_column(column).dictionary_encode()
    words = [str(word) if word is not None else "" for word in column.dictionary.to_pylist()]
    codes = numpy_of(column.indices, -1).astype(np.int64)
    blank = np.array([not word.strip() for word in words] + [True])
    return words, np.where(blank[codes], -1, codes)


def from_codes(words: list[str | None], codes: Array) -> pa.DictionaryArray:
    """A text column out of codes; null where the code is -1 or its word is None."""
    names = list(dict.fromkeys(word for word in words if word is not None))
    place = {name: code for code, name in enumerate(names)}
    table = np.array([place[word] if word is not None else -1 for word in words] + [-1], np.int32)
    own = table[codes]
    return pa.DictionaryArray.from_arrays(array_of(own, own < 0), texts_of(names))


def mapped(column: pa.Array, change: Callable[[str], str | None]) -> pa.DictionaryArray:
    """The column with each distinct text put through `change`."""
    words, codes = coded(column)
    return from_codes([change(word) for word in words], codes)


@dataclass(frozen=True)
class Reader:
    """Reads answers as labels, each distinct answer once."""

    task: TaskSection

    def __call__(self, column: pa.Array, is_raw: bool) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
        """(prediction, reason). What is no label stays as it is in a column of predictions, so that it can be named;
        out of a model's own words nothing but a label is taken."""
        words, codes = coded(column)
        read = [self._read(word) for word in words]
        kept = [label or (None if is_raw else word) for word, (label, _) in zip(words, read, strict=True)]
        reasons = [*(reason for _, reason in read), MISSING]
        places = np.where(codes < 0, len(words), codes)
        return from_codes(list(kept), codes), from_codes(reasons, places)

    def _read(self, word: str) -> tuple[str | None, str | None]:
        label, reason = parse_label(word, self.task)
        if label is None and plain_text(word) != word:
            label, _ = parse_label(plain_text(word), self.task)
        return label, None if label else reason


def group_column(column: pa.Array, separator: str | None, as_list: bool) -> pa.Array:
    """A group for each record, or a list of them where a record may be of several."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(pa.list_(pa.string()))
    words, codes = coded(column)
    parts = [several_groups(word, separator) for word in words]
    if not as_list:
        return from_codes([part[0] for part in parts], codes)
    lists = [parts[code] if code >= 0 else [] for code in codes]
    ends = np.cumsum([0, *map(len, lists)]).astype(np.int32)
    return pa.ListArray.from_arrays(array_of(ends), texts_of([word for part in lists for word in part]))


def several_groups(word: str, separator: str | None) -> list[str]:
    """The groups that a cell names: one, unless it is a list or holds the separator."""
    text = word.strip()
    if separator and separator in text:
        return [part.strip() for part in text.split(separator) if part.strip()]
    if text.startswith("[") and text.endswith("]"):  # a list, as CSV writers spell it
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [text]
        if isinstance(value, list):
            return [str(entry).strip() for entry in value]
    return [text]


def score_column(column: pa.Array, name: str, place: str) -> pa.Array:
    """Probabilities of the positive label; empty cells are null."""
    try:
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if pa.types.is_string(column.type) and (trimmed := mapped(column, str.strip)).null_count > column.null_count:
            return score_column(trimmed.dictionary_decode(), name, place)  # cells of nothing but spaces are empty
        raise DataError(f"{place}: column {name!r}: expected numbers from 0 to 1 ({_short(error)})") from None


def _short(error: Any) -> str:
    return str(error).partition("\n")[0][:120]
