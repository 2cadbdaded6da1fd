"""Which cells are compared, and their joint counts: stored answers come in, for each pair label x outcome x outcome goes
out, for all records and by group, with a few records that flipped. Only shards that both cells have are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.artifacts.shards import GROUP_PREFIX
from sftlib.config.cells import baseline_digest
from sftlib.config.rundir import Run
from sftlib.errors import CorruptError
from sftlib.metrics.formulas import Array
from sftlib.report.answer_store import AnswerStore, ShardAnswers
from sftlib.report.arrow import array_of
from sftlib.report.contents import ShardFaultError, load_shard
from sftlib.report.coverage import CellCoverage
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import Membership, Vocabulary

ALL_PAIRS = 8  # with more cells only the best is compared with each other one
EXAMPLES = 5
Pair = tuple[str, str]


@dataclass
class Joint:
    """Joint counts of a pair (first, second): axes label, outcome of the first, outcome of the second."""

    cells: Array
    groups: dict[str, dict[str, Array]] = field(default_factory=dict)
    only_first_right: list[tuple[int, int]] = field(default_factory=list)  # (shard, row in the shard)
    only_second_right: list[tuple[int, int]] = field(default_factory=list)
    # Of an open-ended task: metric -> its value for each record, of the first and of the second.
    values: dict[str, tuple[Array, Array]] = field(default_factory=dict)


def baseline_of(run: Run) -> dict[str, str]:
    """Each trained cell's baseline: the one that asks the base model what the cell asks its adapter."""
    prompts = {cell.id: baseline_digest(run.cell_config(cell.id)) for cell in run.cells}
    baselines = [cell.id for cell in run.cells if cell.is_baseline]
    found = {}
    for cell in run.cells:
        same = [name for name in baselines if prompts[name] == prompts[cell.id]]
        if same and not cell.is_baseline:
            found[cell.id] = same[0]
    return found


def pairs_of(cells: Sequence[str], best: str | None) -> list[Pair]:
    """Trained cells with each other; of many, the best with each other one."""
    if len(cells) <= ALL_PAIRS or best is None:
        return list(combinations(cells, 2))
    return [(best, other) for other in cells if other != best]


def joint_tables(
    answers: AnswerStore, groups: Mapping[str, Vocabulary], scheme: Scheme, shards: int, pairs: Sequence[Pair],
    by_group: set[Pair],
) -> dict[Pair, Joint]:  # fmt: skip
    """The joint counts of every pair, shard by shard; `groups` are the names behind the codes of each column."""
    width = len(scheme.labels) + 1
    joints = {pair: Joint(np.zeros((width - 1, width, width), np.int64)) for pair in pairs}
    for index in range(shards if pairs else 0):
        there = answers.cells(index)
        wanted = [pair for pair in pairs if pair[0] in there and pair[1] in there]
        if wanted:
            shard = answers.shard(index, sorted({name for pair in wanted for name in pair}))
            for pair in wanted:
                add_shard(joints[pair], shard, pair, groups if pair in by_group else {}, index)
    return joints


def add_shard(joint: Joint, shard: ShardAnswers, pair: Pair, groups: Mapping[str, Vocabulary], index: int) -> None:
    """One shard of one pair. The cell of a record is made once, in the smallest integers, and shared by all groupings."""
    num_labels, width = len(joint.cells), joint.cells.shape[1]
    first, second = (shard.outcomes[name] for name in pair)
    size = joint.cells.size
    kind = np.min_scalar_type((num_labels + 1) * width * width)
    # A record whose gold label is unknown lands behind the last cell and is cut off.
    cell = (shard.gold.astype(kind) * kind.type(width) + first) * kind.type(width) + second
    joint.cells += np.bincount(cell, minlength=size)[:size].reshape(joint.cells.shape)
    for column, words in groups.items():
        tables = _by_group(shard.groups[column], cell, len(words), size)
        known = joint.groups.setdefault(column, {})
        for name, table in zip(words.names, tables.reshape(-1, *joint.cells.shape), strict=True):
            known[name] = known[name] + table if name in known else table
    if groups:
        _add_examples(joint, shard, pair, index)


def _by_group(member: Membership, cell: Array, num_groups: int, size: int) -> Array:
    is_plain = len(member.rows) == len(cell)
    own = cell if is_plain else cell[member.rows]
    width = max(size, int(cell.max(initial=0)) + 1)
    kind = np.min_scalar_type(num_groups * width)
    keys = member.values.astype(kind) * kind.type(width) + own
    return np.bincount(keys, minlength=num_groups * width).reshape(num_groups, width)[:, :size]


def _add_examples(joint: Joint, shard: ShardAnswers, pair: Pair, index: int) -> None:
    if min(len(joint.only_first_right), len(joint.only_second_right)) >= EXAMPLES:
        return
    first, second = (shard.outcomes[name] == shard.gold for name in pair)
    for kept, flipped in ((joint.only_first_right, first & ~second), (joint.only_second_right, second & ~first)):
        kept += [(index, int(row)) for row in np.flatnonzero(flipped)[: EXAMPLES - len(kept)]]


def examples(
    run: Run, first: CellCoverage, second: CellCoverage, places: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:  # fmt: skip
    """The records at (shard, row in the shard), as `second` (a) and `first` (b) answered them."""
    found = {}
    for index in sorted({index for index, _ in places}):
        rows = [row for shard, row in places if shard == index]
        answers = [_rows(run, cell, index, rows) for cell in (second, first)]
        for row, a, b in zip(rows, *answers, strict=True):
            groups = {name: value for name, value in a.items() if name.startswith(GROUP_PREFIX)}
            found[index, row] = {
                "sample_id": a["sample_id"], "gold": a["gold"],
                "groups": {name.removeprefix(GROUP_PREFIX): _listed(value) for name, value in groups.items()},
                "a": a["prediction"], "b": b["prediction"], "a_raw": a.get("raw"), "b_raw": b.get("raw"),
            }  # fmt: skip
    return [found[place] for place in places]


def _rows(run: Run, cell: CellCoverage, index: int, rows: list[int]) -> list[dict[str, Any]]:
    file = pq.ParquetFile(pa.BufferReader(_content(run, cell, index)))
    wanted = ("sample_id", "gold", "prediction", "raw")
    names = [n for n in file.schema_arrow.names if n in wanted or n.startswith(GROUP_PREFIX)]
    return file.read(names).take(array_of(np.array(rows, np.int64))).to_pylist()


def _listed(value: Any) -> list[str]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _content(run: Run, cell: CellCoverage, index: int) -> pa.Buffer:
    """A shard that was whole a moment ago."""
    path = run.paths.cell(cell.cell).shard(index, run.num_shards)
    try:
        return load_shard(path, cell.shards[index])
    except ShardFaultError as fault:
        raise CorruptError(f"{path} was changed while it was merged ({fault.reason}): merge again") from None
