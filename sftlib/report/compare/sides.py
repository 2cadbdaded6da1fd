"""What is compared: a word of the command line comes in (RUN, RUN:CELL, a cell's folder, a table), answers by sample id go
out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sftlib.config.problems import did_you_mean
from sftlib.config.rundir import Run, open_run
from sftlib.errors import DataError, InputError
from sftlib.paths import RunPaths
from sftlib.report.coverage import CellCoverage, check_coverage
from sftlib.report.findings import Finding
from sftlib.report.foreign.request import Request
from sftlib.report.scheme import Scheme

ALL = "*"  # every cell of a run


@dataclass(frozen=True)
class Target:
    """One word of the command line: a run and a cell of it, or a table."""

    word: str
    run: Run | None = None
    cell: str = ALL
    table: Path | None = None


@dataclass
class Side:
    """Answers of one cell or table, in the form of shards."""

    name: str
    batches: list[pa.RecordBatch]
    findings: list[Finding] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(batch.num_rows for batch in self.batches)


def find_target(word: str, beside: Target | None = None) -> Target:
    """What a word names. A bare cell name is one of the run that stands `beside` it."""
    path = Path(word)
    if path.is_file():
        return Target(word, table=path)
    if path.is_dir():
        return _folder(word, path)
    place, _, cell = word.rpartition(":")
    if place and Path(place).is_dir():
        run = open_run(Path(place))
        return Target(word, run, _known(run, cell))
    if beside and beside.run and word in (known.id for known in beside.run.cells):
        return Target(word, beside.run, word)
    cells = [known.id for known in beside.run.cells] if beside and beside.run else []
    raise InputError(
        f"{word!r} is no run, no cell and no table: give RUN, RUN:CELL or a file{did_you_mean(word, cells) if cells else ''}"
    )


def _folder(word: str, path: Path) -> Target:
    if RunPaths(path.resolve()).record.exists():
        return Target(word, open_run(path))
    resolved = path.resolve()
    if resolved.parent.name and RunPaths(resolved.parent.parent).record.exists():
        run = open_run(resolved.parent.parent)
        return Target(word, run, _known(run, resolved.name))
    return Target(word, table=path)


def _known(run: Run, cell: str) -> str:
    known = [record.id for record in run.cells]
    if cell not in known:
        raise InputError(f"{run.paths.root} has no cell {cell!r}{did_you_mean(cell, known)}")
    return cell


def cells_of(first: Target, second: Target) -> list[tuple[str, str]]:
    """The pairs of cells that two targets make: the one and the other, or those of the same name in two runs."""
    if first.cell != ALL or second.cell != ALL or not first.run or not second.run:
        return [(_single(first), _single(second))]
    if first.run.paths.root == second.run.paths.root:
        raise InputError(f"{first.word} is compared with itself: name a cell, as in {first.word}:CELL")
    theirs = [cell.id for cell in second.run.cells]
    common = [cell.id for cell in first.run.cells if cell.id in theirs]
    if not common:
        mine = ", ".join(cell.id for cell in first.run.cells)
        raise InputError(f"no cell is in both runs ({mine}; {', '.join(theirs)}): name one of each, as RUN:CELL")
    return [(name, name) for name in common]


def _single(target: Target) -> str:
    if target.run is None or target.cell != ALL:
        return target.cell
    trained = [cell.id for cell in target.run.cells if not cell.is_baseline]
    if len(trained) != 1:
        raise InputError(
            f"{target.word} has {len(trained)} cells ({', '.join(trained)}): name one, as {target.word}:CELL"
        )
    return trained[0]


def read_cell(run: Run, cell: str, name: str) -> Side:
    """A cell's usable shards; what is wrong with the others is in the findings."""
    from sftlib.report.contents import ShardFaultError, load_shard, shard_batches

    coverage: CellCoverage = check_coverage(run)[cell]
    batches: list[pa.RecordBatch] = []
    for index in sorted(coverage.shards):
        path, manifest = run.paths.cell(cell).shard(index, run.num_shards), coverage.shards[index]
        try:
            batches += shard_batches(load_shard(path, manifest), manifest)
        except ShardFaultError as fault:
            coverage.refuse(run, index, fault.kind, fault.reason)
    if not batches:
        raise DataError(f"{run.paths.root}: cell {cell} has no usable shard: sft rerun {run.paths.typed}")
    return Side(name, batches, [finding for finding in coverage.findings if finding.is_fault])


def read_table(path: Path, request: Request, name: str) -> tuple[Side, Scheme]:
    """A table of predictions in the form of shards, ids checked."""
    from sftlib.report.ahead import ahead, open_pool
    from sftlib.report.foreign.ids import check_unique
    from sftlib.report.foreign.parts import part_calls
    from sftlib.report.foreign.survey import open_table

    if request.id is None:
        raise InputError(f"{path}: records are paired by their id: name its column with --id")
    table = open_table([path], request)
    with open_pool() as pool:
        parts = list(ahead(pool, part_calls(table, table.sources, False)))
    check_unique(table.sources, request.id, np.concatenate([part.hashes for part in parts]))
    return Side(name, [batch for part in parts for batch in part.batches]), table.scheme


def request_for(path: Path, request: Request) -> Request:
    """The request with the columns of our own tables, where those that were named are not there."""
    from sftlib.artifacts.shards import GROUP_PREFIX
    from sftlib.report.foreign.sources import open_sources

    columns = open_sources([path])[0].columns
    if request.label not in columns and {"gold", "prediction", "sample_id"} <= set(columns):
        groups = request.groups or tuple(name for name in columns if name.startswith(GROUP_PREFIX))
        groups = tuple(name for name in groups if name in columns)
        return replace(request, groups=groups, label="gold", prediction="prediction", id="sample_id", raw=None)
    if not request.label:
        raise InputError(f"{path}: name its columns: --label C --prediction C --id C")
    return request
