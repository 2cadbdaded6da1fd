"""Foreign files judged: paths and a request come in, each row is read once, statistics and findings go out; on the way
predictions.parquet is written in the form that a run has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.errors import DataError, InputError
from sftlib.metrics.formulas import Array
from sftlib.metrics.thresholds import fit_threshold
from sftlib.report.ahead import ahead, open_pool
from sftlib.report.arrow import array_of
from sftlib.report.combine import CellStatistics, statistics_of
from sftlib.report.decisions import HALF, Decision
from sftlib.report.findings import NOTE, Finding
from sftlib.report.foreign.columns import (
    Reader,
    coded,
    group_column,
    mapped,
    plain_text,
    score_column,
    several_groups,
    text_column,
)  # fmt: skip
from sftlib.report.foreign.ids import id_hashes, repeated_hashes
from sftlib.report.foreign.request import Request, choose_labels, make_config
from sftlib.report.foreign.sources import Load, Source, open_sources
from sftlib.report.merged import encoded, merged_writer
from sftlib.report.reading import encode
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import GROUP_PREFIX, Vocabularies, Vocabulary

NAMED_IDS = 3  # of those that repeat


@dataclass
class Survey:
    """What must be known before a row is judged."""

    rows: int = 0
    labels: set[str] = field(default_factory=set)
    answers: set[str] = field(default_factory=set)
    list_columns: set[str] = field(default_factory=set)  # groups of which a record may have several


@dataclass(frozen=True)
class Table:
    """Foreign files as they will be read: their columns exist and their labels are known."""

    sources: list[Source]
    request: Request
    survey: Survey
    config: SFTConfig
    scheme: Scheme
    note: str


@dataclass
class Judged:
    """Everything that the figures are made of."""

    name: str
    sources: list[Source]
    config: SFTConfig
    scheme: Scheme
    statistics: CellStatistics
    rows: int
    findings: list[Finding]


@dataclass(frozen=True)
class Part:
    """Some rows in the form of a shard."""

    batches: list[pa.RecordBatch]
    hashes: Array
    content: pa.Buffer | None
    disagreeing: int  # rows whose column of predictions says something else than their raw answer


def judge(paths: Sequence[Path], request: Request, predictions: Path | None) -> Judged:
    """Read all files; `predictions` is where the merged table goes, if it is wanted."""
    table = open_table(paths, request)
    words = Vocabularies(
        Vocabulary(table.scheme.labels), table.scheme.base_columns, dict(table.scheme.crossings)
    )  # fmt: skip
    rows = table.survey.rows
    statistics = statistics_of(table.scheme, words, rows, _decisions(table))
    judged = Judged(table.sources[0].path.stem, table.sources, table.config, table.scheme, statistics, rows, [])
    if table.note:
        judged.findings.append(Finding(NOTE, None, table.note))
    _read_all(judged, table, predictions)
    return judged


def _decisions(table: Table) -> list[Decision]:
    """One half, and the threshold that was given or is fitted on validation."""
    request = table.request
    if request.threshold is None and request.validation is None:
        return []
    if request.score is None or not table.scheme.is_binary:
        raise InputError("a threshold cuts the scores of two labels: name their column with --score")
    if request.validation is None:
        assert request.threshold is not None
        return [Decision(HALF), Decision(request.threshold, "given")]
    return [Decision(HALF), _fit(table, request.validation)]


def _fit(table: Table, path: Path) -> Decision:
    """The best threshold on another table with the same columns."""
    request = replace(table.request, validation=None, threshold=None, labels=table.scheme.labels)
    words = Vocabularies(Vocabulary(table.scheme.labels), ())
    other = open_table([path], request)
    codes = [encode(batch, words) for call in part_calls(other, other.sources, False) for batch in call().batches]
    gold, score = (np.concatenate([getattr(part, name) for part in codes]) for name in ("gold", "score"))
    known = (gold < len(table.scheme.labels)) & (score >= 0) & (score <= 1)
    found = fit_threshold(gold[known], score[known], request.objective)
    if found.threshold is None:
        raise DataError(f"--validation {path}: no threshold can be fitted: it needs records of both labels with scores")
    return Decision(found.threshold, request.objective, int(known.sum()))


def open_table(paths: Sequence[Path], request: Request) -> Table:
    """Check that the columns are there, and find the labels."""
    sources = open_sources(paths)
    _check_columns(sources, request)
    survey = _survey(sources, request)
    if not survey.rows:
        raise DataError(f"{', '.join(str(source.path) for source in sources)}: no record at all")
    labels, positive, note = choose_labels(request, survey.labels, survey.answers)
    config = make_config(request, labels, positive)
    return Table(sources, request, survey, config, Scheme.of(config), note)


def _check_columns(sources: Sequence[Source], request: Request) -> None:
    if request.prediction is None and request.raw is None:
        raise DataError("name the column with the answers: --prediction C (labels) or --raw C (a model's own words)")
    for source in sources:
        for option, column in request.named.items():
            source.require(option, column)
        for column in request.groups:
            source.require("--group", column)


def _survey(sources: Sequence[Source], request: Request) -> Survey:
    """Distinct labels, and where a record may be of several groups."""
    survey = Survey()
    for source in sources:
        columns = [request.label, *request.groups]
        for rows, load in source.parts(columns, columns):
            survey.rows += rows
            for batch in load().to_batches():
                survey.labels.update(_words(batch.column(request.label)))
                _look_at_groups(survey, request, batch)
    if len(survey.labels) < 2 and request.prediction:
        for source in sources:
            for _, load in source.parts([request.prediction], [request.prediction]):
                for batch in load().to_batches():
                    survey.answers.update(_words(batch.column(0)))
    return survey


def _words(column: pa.Array) -> set[str]:
    words, codes = coded(column)
    return {words[code] for code in np.unique(codes) if code >= 0}


def _look_at_groups(survey: Survey, request: Request, batch: pa.RecordBatch) -> None:
    for column in set(request.groups) - survey.list_columns:
        values = batch.column(column)
        if _is_list(values) or any(len(several_groups(word, request.separator)) != 1 for word in _words(values)):
            survey.list_columns.add(column)


def _is_list(column: pa.Array) -> bool:
    return pa.types.is_list(column.type) or pa.types.is_large_list(column.type)


def _read_all(judged: Judged, table: Table, predictions: Path | None) -> None:
    request, disagreeing, at = table.request, 0, 0
    hashes = np.empty(table.survey.rows, np.uint64)
    calls = part_calls(table, table.sources, predictions is not None)
    with _writer(predictions, judged) as append, open_pool() as pool:
        for part in ahead(pool, calls):
            if part.content is not None:
                append(judged.name, part.content)
            for batch in part.batches:
                judged.statistics.add(encode(batch, judged.statistics.words), batch)
            hashes[at : at + len(part.hashes)] = part.hashes
            at, disagreeing = at + len(part.hashes), disagreeing + part.disagreeing
        if request.id:
            check_unique(judged.sources, request.id, hashes[:at])
    if disagreeing:
        what = f"{disagreeing:,} answers of column {request.prediction!r} that are not what the parser reads in {request.raw!r}"
        judged.findings.append(Finding(NOTE, None, what, "the parser's reading is what counts"))
    if not request.id:
        judged.findings.append(Finding(NOTE, None, "no id column was named", "records that repeat cannot be found"))


@contextlib.contextmanager
def _writer(predictions: Path | None, judged: Judged) -> Iterator[Callable[[str, pa.Buffer], None]]:
    if predictions is None:
        yield lambda name, content: None
        return
    with merged_writer(predictions, judged.scheme.base_columns) as append:
        yield append


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
    found["gold"] = mapped(
        batch.column(request.label), lambda word: parse_label(word, reader.task)[0] or plain_text(word)
    )
    given = reader(batch.column(request.prediction), is_raw=False) if request.prediction else None
    disagreeing = 0
    if request.raw:
        found["prediction"], found["reason"] = reader(batch.column(request.raw), is_raw=True)
        disagreeing = _differing(given[0], found["prediction"]) if given else 0
    elif given:
        found["prediction"], found["reason"] = given
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
