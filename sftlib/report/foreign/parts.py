"""Foreign rows in the form of a shard: parts of files come in, batches with the columns of a shard, hashes of the ids and, if
wanted, the same as Parquet go out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from sftlib.artifacts.shards import GROUP_PREFIX
from sftlib.data.parsing import parse_label
from sftlib.errors import DataError
from sftlib.metrics.formulas import Array
from sftlib.report.arrow import array_of
from sftlib.report.foreign.columns import Reader, coded, group_column, mapped, plain_text, score_column, text_column
from sftlib.report.foreign.ids import id_hashes
from sftlib.report.foreign.request import Request
from sftlib.report.foreign.sources import Load, Source
from sftlib.report.foreign.survey import Survey, Table
from sftlib.report.merged import encoded


@dataclass(frozen=True)
class Part:
    """Some rows in the form of a shard."""

    batches: list[pa.RecordBatch]
    hashes: Array
    content: pa.Buffer | None
    disagreeing: int  # rows whose column of predictions says something else than their raw answer


def part_calls(table: Table, sources: Sequence[Source], is_kept: bool) -> Iterator[Callable[[], Part]]:
    """A call for each part of these files; `is_kept`: it comes as Parquet too."""
    request, reader, first_row = table.request, Reader(table.config.task), 0
    columns = [*request.named.values(), *request.groups]
    repeating = [column for column in columns if column not in (request.id, request.score, request.raw)]
    for source in sources:
        for rows, load in source.parts(columns, repeating):
            yield partial(_part, load, source, request, table.survey, reader, first_row, is_kept)
            first_row += rows


def _part(
    load: Load, source: Source, request: Request, survey: Survey, reader: Reader, first_row: int, is_kept: bool
) -> Part:
    """Some rows in the form of a shard."""
    hashes, disagreeing = [np.empty(0, np.uint64)], 0
    batches = []
    for batch in load().to_batches():
        columns, other = _columns(batch, source, request, survey, reader, first_row)
        first_row += batch.num_rows
        disagreeing += other
        batches.append(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)))
        if request.id:
            hashes.append(id_hashes(columns["sample_id"]))
    content = encoded(pa.Table.from_batches(batches)) if is_kept and batches else None
    return Part(batches, np.concatenate(hashes), content, disagreeing)


def _columns(
    batch: pa.RecordBatch, source: Source, request: Request, survey: Survey, reader: Reader, first_row: int
) -> tuple[dict[str, pa.Array], int]:
    place, count = str(source.path), batch.num_rows
    rows = np.arange(first_row, first_row + count)
    found: dict[str, pa.Array] = {"sample_id": _ids(batch, request, place, rows), "row": array_of(rows)}
    answers, disagreeing = _answers(batch, request, reader)
    found |= answers
    if request.reason:
        found["reason"] = mapped(batch.column(request.reason), str.strip)
    if request.score:
        found["score"] = score_column(batch.column(request.score), request.score, place)
    if request.raw:
        found["raw"] = text_column(batch.column(request.raw))
    for name, column in (("source", request.source), ("original_label", request.original_label)):
        if column:
            found[name] = mapped(batch.column(column), str.strip)
    for column in request.groups:
        values = group_column(batch.column(column), request.separator, column in survey.list_columns)
        found[GROUP_PREFIX + column] = values
    return found, disagreeing


def _answers(batch: pa.RecordBatch, request: Request, reader: Reader) -> tuple[dict[str, pa.Array], int]:
    """Gold, prediction and reason, and in how many rows the prediction is not what the raw answer says."""
    if request.is_open_ended:
        said = request.prediction or request.raw
        return {
            name: text_column(batch.column(column)) for name, column in (("gold", request.label), ("prediction", said))
        }, 0
    gold = mapped(batch.column(request.label), lambda word: parse_label(word, reader.task)[0] or plain_text(word))
    given = reader(batch.column(request.prediction), is_raw=False) if request.prediction else None
    if not request.raw:
        assert given is not None  # one of the two columns is named
        return {"gold": gold, "prediction": given[0], "reason": given[1]}, 0
    read = reader(batch.column(request.raw), is_raw=True)
    return {"gold": gold, "prediction": read[0], "reason": read[1]}, _differing(given[0], read[0]) if given else 0


def _ids(batch: pa.RecordBatch, request: Request, place: str, rows: Array) -> pa.Array:
    if request.id is None:
        return array_of(rows).cast(pa.string())
    ids = text_column(batch.column(request.id))
    if ids.null_count:
        raise DataError(f"{place}: {ids.null_count:,} records have no id in column {request.id!r}")
    return ids


def _differing(given: pa.DictionaryArray, read: pa.DictionaryArray) -> int:
    """Rows in which two columns do not say the same, nothing and nothing being the same."""
    words, codes = coded(given)
    others, theirs = coded(read)
    place = {word: code for code, word in enumerate(others)}
    table = np.array([place.get(word, -2) for word in words] + [-1])  # -2: a word that the other column never says
    return int((table[codes] != theirs).sum())
