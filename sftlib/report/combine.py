"""All usable shards, read once: predictions.parquet is written on the way, and each cell's statistics go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.artifacts.shards import GROUP_PREFIX
from sftlib.config.rundir import Run
from sftlib.report.ahead import ahead, open_pool
from sftlib.report.answer_store import AnswerStore
from sftlib.report.contents import ShardFaultError, load_shard, shard_batches
from sftlib.report.coverage import CellCoverage
from sftlib.report.decisions import Decision, DecisionTally, decisions_of
from sftlib.report.findings import Finding
from sftlib.report.identity import SampleIds
from sftlib.report.merged import predictions_writer
from sftlib.report.open_ended import TextTally
from sftlib.report.reading import COUNTED, encode
from sftlib.report.scheme import Scheme
from sftlib.report.scored import ScoreTally
from sftlib.report.tally import Tally
from sftlib.report.vocabulary import Codes, Vocabularies, Vocabulary

GroupRows = dict[str, Counter[str]]  # column -> group -> records


@dataclass
class CellStatistics:
    """What the shards of one cell add up to: labels (with scores), or texts."""

    words: Vocabularies
    tally: Tally | None = None
    scores: ScoreTally | None = None
    texts: TextTally | None = None
    group_rows: GroupRows = field(default_factory=dict)
    decisions: list[DecisionTally] = field(default_factory=list)

    @property
    def unparsed(self) -> int:
        part = self.tally or self.texts
        return part.unparsed if part else 0

    def add(self, codes: Codes, batch: pa.RecordBatch) -> None:
        for part in (self.tally, self.scores, *self.decisions):
            if part:
                part.add(codes)
        if self.texts:
            self.texts.add(codes, batch)
        count_groups(self.group_rows, codes, self.words)


@dataclass
class Combined:
    """Statistics of all cells; records of each group in the shards that any cell has; what was found on the way."""

    cells: dict[str, CellStatistics]
    known_rows: GroupRows = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    answers: AnswerStore | None = None  # where there is more than one cell


def combine(
    run: Run, coverage: Mapping[str, CellCoverage], scheme: Scheme, target: Path, on_shard: Callable[[], None]
) -> Combined:
    """Read every usable shard once, in cell order, then row order; one whose bytes are wrong is refused in `coverage`."""
    combined = Combined({}, answers=AnswerStore(target.parent) if len(run.cells) > 1 and scheme.has_labels else None)
    groups: dict[str, Vocabulary] = {}
    for cell in run.cells:  # unknown labels belong to a cell, so each has vocabularies of its own, but for groups
        words = Vocabularies(Vocabulary(scheme.labels), scheme.base_columns, dict(scheme.crossings), groups=groups)
        decisions = decisions_of(run, cell.id) if scheme.is_binary else []
        combined.cells[cell.id] = statistics_of(scheme, words, run.test_count, decisions)
    ids, seen = SampleIds(run.test_count), set[int]()
    num_bytes = sum(cell.num_bytes for cell in coverage.values())
    with predictions_writer(target, scheme.base_columns, num_bytes) as append, open_pool() as pool:
        for name, index, content, batches in _shards(run, coverage, pool, ids.is_wanted):
            on_shard()
            append(name, run.paths.cell(name).shard(index, run.num_shards), content)
            codes = [encode(batch, combined.cells[name].words) for batch in batches]
            for batch, part in zip(batches, codes, strict=True):
                combined.cells[name].add(part, batch)
                if index not in seen:
                    count_groups(combined.known_rows, part, combined.cells[name].words)
                    ids.add(batch)
            if combined.answers:
                combined.answers.add(name, index, codes)
            seen.add(index)
    combined.findings += ids.findings()
    return combined


def _shards(
    run: Run, coverage: Mapping[str, CellCoverage], pool: ThreadPoolExecutor, with_ids: bool
) -> Iterator[tuple[str, int, pa.Buffer, list[pa.RecordBatch]]]:
    """(cell, index, bytes, batches) of every shard whose bytes are right; hashed and decoded ahead of their use."""
    needed = [
        *COUNTED,
        *(["sample_id"] if with_ids else []),
        *(GROUP_PREFIX + c for c in run.config.data.group_columns),
    ]
    places = list(_in_order(run, coverage))
    loaded = ahead(pool, (partial(_load, run, coverage[name], index, needed) for name, index in places))
    for (name, index), (content, batches) in zip(places, loaded, strict=True):
        if isinstance(content, ShardFaultError):
            coverage[name].refuse(run, index, content.kind, content.reason)
        else:
            yield name, index, content, batches


def _load(
    run: Run, cell: CellCoverage, index: int, columns: Sequence[str]
) -> tuple[pa.Buffer | ShardFaultError, list[pa.RecordBatch]]:
    path, manifest = run.paths.cell(cell.cell).shard(index, run.num_shards), cell.shards[index]
    try:
        content = load_shard(path, manifest)
        return content, shard_batches(content, manifest, columns)
    except ShardFaultError as fault:
        return fault, []


def count_groups(rows: GroupRows, codes: Codes, words: Vocabularies) -> None:
    """Add a batch's records by group."""
    for column in words.columns:
        member = codes.groups[column]
        counts = np.bincount(member.values, minlength=len(words.groups[column]))
        counter = rows.setdefault(column, Counter())
        for code in np.flatnonzero(counts):
            counter[words.groups[column].names[code]] += int(counts[code])


def _in_order(run: Run, coverage: Mapping[str, CellCoverage]) -> Iterator[tuple[str, int]]:
    for cell in run.cells:
        for index in sorted(coverage[cell.id].shards):
            yield cell.id, index


def statistics_of(
    scheme: Scheme, words: Vocabularies, rows: int, decisions: Sequence[Decision] = ()
) -> CellStatistics:  # fmt: skip
    """Nothing yet, in the form that the task asks for; `rows` decides whether scores are kept one by one."""
    if not scheme.has_labels:
        return CellStatistics(words, texts=TextTally(words))
    scores = None
    if scheme.positive:
        scores = ScoreTally(words, scheme.positive_code, rows, scheme.calibration_bins)
    return CellStatistics(words, Tally(words), scores, decisions=[DecisionTally(words, entry) for entry in decisions])
