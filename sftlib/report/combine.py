"""All usable shards, read once: predictions.parquet is written on the way, and each cell's statistics go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.config.rundir import Run
from sftlib.report.contents import ShardFaultError, check_content, load_shard
from sftlib.report.coverage import CellCoverage
from sftlib.report.findings import Finding
from sftlib.report.identity import SampleIds
from sftlib.report.merged import merged_writer
from sftlib.report.open_ended import TextTally
from sftlib.report.reading import encode, read_batches
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

    @property
    def unparsed(self) -> int:
        part = self.tally or self.texts
        return part.unparsed if part else 0

    def add(self, codes: Codes, batch: pa.RecordBatch) -> None:
        for part in (self.tally, self.scores):
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


def combine(
    run: Run, coverage: Mapping[str, CellCoverage], scheme: Scheme, target: Path, on_shard: Callable[[], None]
) -> Combined:
    """Read every usable shard once, in cell order, then row order; one whose bytes are wrong is refused in `coverage`."""
    columns = tuple(run.config.data.group_columns)
    combined = Combined({})
    for cell in run.cells:  # unknown labels belong to a cell, so each has vocabularies of its own
        combined.cells[cell.id] = _statistics(run, scheme, Vocabularies(Vocabulary(scheme.labels), columns))
    ids, seen = SampleIds(), set[int]()
    with merged_writer(target, columns) as write:
        for name, index in _in_order(run, coverage):
            on_shard()
            content = _content(run, coverage[name], index)
            if content is None:
                continue
            statistics, is_new = combined.cells[name], index not in seen
            for batch in read_batches(content):
                write(name, batch)
                codes = encode(batch, statistics.words)
                statistics.add(codes, batch)
                if is_new:
                    count_groups(combined.known_rows, codes, statistics.words)
                    ids.add(batch)
            seen.add(index)
    combined.findings += ids.findings()
    return combined


def _content(run: Run, cell: CellCoverage, index: int) -> pa.Buffer | None:
    path, manifest = run.paths.cell(cell.cell).shard(index, run.num_shards), cell.shards[index]
    try:
        content = load_shard(path, manifest)
        check_content(content, manifest)
    except ShardFaultError as fault:
        cell.refuse(run, index, fault.kind, fault.reason)
        return None
    return content


def count_groups(rows: GroupRows, codes: Codes, words: Vocabularies) -> None:
    """Add a batch's records by group."""
    for column, member in codes.groups.items():
        counts = np.bincount(member.values, minlength=len(words.groups[column]))
        counter = rows.setdefault(column, Counter())
        for code in np.flatnonzero(counts):
            counter[words.groups[column].names[code]] += int(counts[code])


def _in_order(run: Run, coverage: Mapping[str, CellCoverage]) -> Iterator[tuple[str, int]]:
    for cell in run.cells:
        for index in sorted(coverage[cell.id].shards):
            yield cell.id, index


def _statistics(run: Run, scheme: Scheme, words: Vocabularies) -> CellStatistics:
    if not scheme.has_labels:
        return CellStatistics(words, texts=TextTally(words))
    scores = None
    if scheme.positive:
        scores = ScoreTally(
            words, words.labels.find(scheme.positive, 0), run.test_count, run.config.report.calibration_bins
        )
    return CellStatistics(words, Tally(words), scores)
