"""Foreign files judged: paths and a request come in, each row is read once, statistics and findings go out; on the way
predictions.parquet is written in the form that a run has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError, InputError
from sftlib.metrics.thresholds import fit_threshold
from sftlib.report.ahead import ahead, open_pool
from sftlib.report.combine import CellStatistics, statistics_of
from sftlib.report.decisions import HALF, Decision
from sftlib.report.findings import NOTE, Finding
from sftlib.report.foreign.ids import check_unique
from sftlib.report.foreign.parts import part_calls
from sftlib.report.foreign.request import Request
from sftlib.report.foreign.sources import Source
from sftlib.report.foreign.survey import Table, open_table
from sftlib.report.merged import merged_writer
from sftlib.report.reading import encode
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import Vocabularies, Vocabulary


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
