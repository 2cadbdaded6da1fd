"""Two cells on an open-ended task: match and ROUGE-L of each answer come in, joint counts of right and wrong, and both values
of every record, go out."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from sftlib.artifacts.shards import shard_range
from sftlib.config.rundir import Run
from sftlib.metrics.formulas import Array
from sftlib.metrics.paired import joint_counts, joint_counts_by_group
from sftlib.report.open_ended import EXACT, ROUGE, TextTally
from sftlib.report.pairs import EXAMPLES, Joint


def text_joint(run: Run, first: TextTally, second: TextTally) -> Joint:
    """One class (what the reference says), outcomes right and wrong, over the rows that both cells answered."""
    (rows_a, answers_a), (rows_b, answers_b) = first.by_row(), second.by_row()
    rows, place_a, place_b = np.intersect1d(rows_a, rows_b, return_indices=True)
    a, b = answers_a[place_a], answers_b[place_b]
    wrong_a, wrong_b = is_wrong(a), is_wrong(b)
    label = np.zeros(len(rows), np.int64)
    joint = Joint(joint_counts(label, wrong_a, wrong_b, num_classes=1), values={"rouge_l": (a[:, ROUGE], b[:, ROUGE])})
    place_of = np.full(len(rows_a), -1)
    place_of[place_a] = np.arange(len(rows))
    for column in first.words.all_columns:
        members, values = first.members(column)
        kept = place_of[members] >= 0
        at, names = place_of[members[kept]], first.words.groups[column].names
        tables = joint_counts_by_group(label[at], wrong_a[at], wrong_b[at], values[kept], len(names), num_classes=1)
        joint.groups[column] = dict(zip(names, tables, strict=True))
    joint.only_first_right = _places(run, rows[clearest(a, b)])
    joint.only_second_right = _places(run, rows[clearest(b, a)])
    return joint


def is_wrong(answers: Array) -> Array:
    """The outcome's code: 0 for what the reference says, else 1."""
    return (answers[:, EXACT] == 0).astype(np.int64)


def clearest(better: Array, worse: Array) -> Array:
    """Where the one is better than the other: an exact match against none first, then by the difference in ROUGE-L."""
    gain = np.nan_to_num(better[:, ROUGE] - worse[:, ROUGE])
    is_match = (better[:, EXACT] > 0) & (worse[:, EXACT] == 0)
    order = np.lexsort((-gain, ~is_match))
    return order[(is_match | ((gain > 0) & ~((worse[:, EXACT] > 0) & (better[:, EXACT] == 0))))[order]]


def _places(run: Run, rows: Array) -> list[tuple[int, int]]:
    """(shard, row in the shard) of the first few rows."""
    starts = [shard_range(run.test_count, index, run.num_shards).start for index in range(run.num_shards)]
    shards = [bisect_right(starts, int(row)) - 1 for row in rows[:EXAMPLES]]
    return [(shard, int(row) - starts[shard]) for shard, row in zip(shards, rows[:EXAMPLES], strict=True)]
