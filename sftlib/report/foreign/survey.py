"""Foreign files before a row is judged: paths and a request come in; that the columns are there, which labels there are and
where a record may be of several groups go out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError, InputError
from sftlib.report.ahead import ahead, open_pool
from sftlib.report.foreign.columns import coded, several_groups
from sftlib.report.foreign.request import Request, choose_labels, make_config
from sftlib.report.foreign.sources import Source, open_sources
from sftlib.report.scheme import Scheme


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


def open_table(paths: Sequence[Path], request: Request) -> Table:
    """Check that the columns are there, and find the labels."""
    if request.is_open_ended:
        _check_open_ended(request)
    sources = open_sources(paths)
    _check_columns(sources, request)
    survey = _survey(sources, request)
    if not survey.rows:
        raise DataError(f"{', '.join(str(source.path) for source in sources)}: no record at all")
    labels, positive, note = (
        ([], None, "") if request.is_open_ended else choose_labels(request, survey.labels, survey.answers)
    )
    config = make_config(request, labels, positive)
    return Table(sources, request, survey, config, Scheme.of(config), note)


def _check_open_ended(request: Request) -> None:
    """What speaks of labels or of their scores has no meaning where answers are texts."""
    options = {
        "--score": request.score, "--positive": request.positive, "--labels": request.labels, "--alias": request.aliases,
        "--threshold": request.threshold, "--validation": request.validation,
    }  # fmt: skip
    if given := [option for option, value in options.items() if value]:
        raise InputError(f"--open-ended has no labels: leave out {', '.join(given)}")


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
    survey, columns = Survey(), [request.label, *request.groups]
    with open_pool() as pool:
        calls = (load for source in sources for _, load in source.parts(columns, columns))
        for table in ahead(pool, calls):
            survey.rows += table.num_rows
            for batch in table.to_batches():
                if not request.is_open_ended:
                    survey.labels.update(_words(batch.column(request.label)))
                _look_at_groups(survey, request, batch)
    if len(survey.labels) < 2 and request.prediction and not request.is_open_ended:
        for source in sources:
            for _, load in source.parts([request.prediction], [request.prediction]):
                for batch in load().to_batches():
                    survey.answers.update(_words(batch.column(0)))
    return survey


def _words(column: pa.Array) -> set[str]:
    words, codes = coded(column)
    return {words[code - 1] for code in np.flatnonzero(np.bincount(codes + 1)) if code}  # code 0: nothing said


def _look_at_groups(survey: Survey, request: Request, batch: pa.RecordBatch) -> None:
    for column in set(request.groups) - survey.list_columns:
        values = batch.column(column)
        if _is_list(values) or any(len(several_groups(word, request.separator)) != 1 for word in _words(values)):
            survey.list_columns.add(column)


def _is_list(column: pa.Array) -> bool:
    return pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
