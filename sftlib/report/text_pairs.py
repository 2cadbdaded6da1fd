"""Two cells on an open-ended task: which answers match exactly comes in, joint counts of right and wrong go out."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from sftlib.artifacts.shards import shard_range
from sftlib.config.rundir import Run
from sftlib.metrics.formulas import Array
from sftlib.metrics.paired import joint_counts, joint_counts_by_group
from sftlib.report.open_ended import TextTally
from sftlib.report.pairs import EXAMPLES, Joint


def text_joint(run: Run, first: TextTally, second: TextTally) -> Joint:
    """One class (what the reference says), outcomes right and wrong, over the rows that both cells answered."""
    (rows_a, right_a), (rows_b, right_b) = first.exact_by_row(), second.exact_by_row()
    rows, place_a, place_b = np.intersect1d(rows_a, rows_b, return_indices=True)
    wrong_a, wrong_b = 1 - right_a[place_a].astype(np.int64), 1 - right_b[place_b].astype(np.int64)
    label = np.zeros(len(rows), np.int64)
    joint = Joint(joint_counts(label, wrong_a, wrong_b, num_classes=1))
    place_of = np.full(len(rows_a), -1)
    place_of[place_a] = np.arange(len(rows))
    for column in first.words.all_columns:
        members, values = first.members(column)
        kept = place_of[members] >= 0
        at, names = place_of[members[kept]], first.words.groups[column].names
        tables = joint_counts_by_group(label[at], wrong_a[at], wrong_b[at], values[kept], len(names), num_classes=1)
        joint.groups[column] = dict(zip(names, tables, strict=True))
    joint.only_first_right = _places(run, rows[(wrong_a == 0) & (wrong_b == 1)])
    joint.only_second_right = _places(run, rows[(wrong_a == 1) & (wrong_b == 0)])
    return joint


def _places(run: Run, rows: Array) -> list[tuple[int, int]]:
    """(shard, row in the shard) of the first few rows."""
    starts = [shard_range(run.test_count, index, run.num_shards).start for index in range(run.num_shards)]
    shards = [bisect_right(starts, int(row)) - 1 for row in rows[:EXAMPLES]]
    return [(shard, int(row) - starts[shard]) for shard, row in zip(shards, rows[:EXAMPLES], strict=True)]
