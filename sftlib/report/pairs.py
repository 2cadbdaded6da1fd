"""Which cells are compared, and their joint counts: usable shards come in, for each pair label x outcome x outcome goes
out, for all records and by group, with a few records that flipped. Only shards that both cells have are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sftlib.config.rundir import Run
from sftlib.errors import CorruptError
from sftlib.metrics.formulas import Array
from sftlib.metrics.paired import joint_counts_by_group
from sftlib.report.contents import ShardFaultError, load_shard
from sftlib.report.coverage import CellCoverage
from sftlib.report.reading import encode, read_batches
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import GROUP_PREFIX, Membership, Vocabularies, Vocabulary

BASELINE, CELLS = "baseline", "cells"
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


@dataclass(frozen=True)
class _ShardCodes:
    gold: Array
    outcomes: dict[str, Array]
    groups: dict[str, Membership]


def baseline_of(run: Run) -> dict[str, str]:
    """Each trained cell's baseline: the one with the very same data, prompts, task, model and prediction settings."""
    prompts = {cell.id: _prompt_settings(run, cell.id) for cell in run.cells}
    baselines = [cell.id for cell in run.cells if cell.is_baseline]
    found = {}
    for cell in run.cells:
        same = [name for name in baselines if prompts[name] == prompts[cell.id]]
        if same and not cell.is_baseline:
            found[cell.id] = same[0]
    return found


def _prompt_settings(run: Run, cell: str) -> dict:
    tree = run.cell_config(cell).to_dict()
    settings = {section: tree[section] for section in ("data", "prompt", "task", "model", "predict")}
    settings["predict"] = {k: v for k, v in tree["predict"].items() if k not in ("num_shards", "shards_per_job")}
    return settings


def pairs_of(cells: Sequence[str], best: str | None) -> list[Pair]:
    """Trained cells with each other; of many, the best with each other one."""
    if len(cells) <= ALL_PAIRS or best is None:
        return list(combinations(cells, 2))
    return [(best, other) for other in cells if other != best]


def joint_tables(
    run: Run, coverage: Mapping[str, CellCoverage], scheme: Scheme, pairs: Sequence[Pair], by_group: set[Pair]
) -> dict[Pair, Joint]:
    """The joint counts of every pair, shard by shard."""
    width, columns = len(scheme.labels) + 1, tuple(run.config.data.group_columns)
    joints = {pair: Joint(np.zeros((width - 1, width, width), np.int64)) for pair in pairs}
    for index in range(run.num_shards if pairs else 0):
        there = [name for name in coverage if index in coverage[name].shards]
        wanted = [pair for pair in pairs if pair[0] in there and pair[1] in there]
        if not wanted:
            continue
        names = sorted({name for pair in wanted for name in pair})
        words = Vocabularies(Vocabulary(scheme.labels), columns)
        shard = _read(run, coverage, index, names, words)
        for pair in wanted:
            _add(joints[pair], shard, pair, width - 1)
            if pair in by_group:
                _add_groups(joints[pair], shard, pair, width - 1, words)
                _add_examples(joints[pair], shard, pair, index)
    return joints


def _read(
    run: Run, coverage: Mapping[str, CellCoverage], index: int, names: Sequence[str], words: Vocabularies
) -> _ShardCodes:
    """Gold and groups from the first cell (they are the same samples), outcomes from each."""
    columns = ["gold", "prediction", *(GROUP_PREFIX + column for column in words.columns)]
    outcomes: dict[str, Array] = {}
    gold, groups = np.empty(0, np.uint8), {}
    for name in names:
        content = _content(run, coverage[name], index)
        parts = [encode(batch, words) for batch in read_batches(content, columns if not outcomes else columns[:2])]
        small = np.min_scalar_type(len(words.labels))
        if not outcomes:
            gold = np.concatenate([part.gold.astype(small) for part in parts] or [gold])
            groups = {column: _joined([part.groups[column] for part in parts], parts) for column in words.columns}
        outcomes[name] = np.concatenate([part.outcome.astype(small) for part in parts] or [gold])
    return _ShardCodes(gold, outcomes, groups)


def _joined(members: Sequence[Membership], parts: Sequence) -> Membership:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    rows = [member.rows + start for member, start in zip(members, starts, strict=False)]
    empty = [np.empty(0, np.int64)]
    return Membership(np.concatenate(rows or empty), np.concatenate([member.values for member in members] or empty))


def _add(joint: Joint, shard: _ShardCodes, pair: Pair, num_labels: int) -> None:
    known = shard.gold < num_labels
    first, second = (shard.outcomes[name][known] for name in pair)
    zeros = np.zeros(len(first), np.int64)
    joint.cells += joint_counts_by_group(shard.gold[known], first, second, zeros, 1, num_labels)[0]


def _add_groups(joint: Joint, shard: _ShardCodes, pair: Pair, num_labels: int, words: Vocabularies) -> None:
    first, second = (shard.outcomes[name] for name in pair)
    for column, member in shard.groups.items():
        kept = shard.gold[member.rows] < num_labels
        rows, values, names = member.rows[kept], member.values[kept], words.groups[column].names
        counts = joint_counts_by_group(shard.gold[rows], first[rows], second[rows], values, len(names), num_labels)
        known = joint.groups.setdefault(column, {})
        for name, table in zip(names, counts, strict=True):
            known[name] = known[name] + table if name in known else table


def _add_examples(joint: Joint, shard: _ShardCodes, pair: Pair, index: int) -> None:
    first, second = (shard.outcomes[name] == shard.gold for name in pair)
    for kept, flipped in ((joint.only_first_right, first & ~second), (joint.only_second_right, second & ~first)):
        if len(kept) < EXAMPLES:
            kept += [(index, int(row)) for row in np.flatnonzero(flipped)[: EXAMPLES - len(kept)]]


def sample_ids(run: Run, cell: CellCoverage, places: Sequence[tuple[int, int]]) -> list[str]:
    """The ids at (shard, row in the shard)."""
    columns = {
        index: pq.ParquetFile(pa.BufferReader(_content(run, cell, index))).read(["sample_id"])["sample_id"]
        for index in {index for index, _ in places}
    }
    return [columns[index][row].as_py() for index, row in places]


def _content(run: Run, cell: CellCoverage, index: int) -> pa.Buffer:
    """A shard that was whole a moment ago."""
    path = run.paths.cell(cell.cell).shard(index, run.num_shards)
    try:
        return load_shard(path, cell.shards[index])
    except ShardFaultError as fault:
        raise CorruptError(f"{path} was changed while it was merged ({fault.reason}): merge again") from None
