"""The parent of an element's workers: starts them, adds up what they have done, and says what is missing at the end."""

from __future__ import annotations

from collections.abc import Sequence

from sftlib.artifacts.progress import ProgressFile, say
from sftlib.artifacts.shards import VALID, check_shard, shard_range
from sftlib.artifacts.strays import remove_remains
from sftlib.config.rundir import Run
from sftlib.errors import DONE, IncompleteError
from sftlib.infer.workers import run_workers


def share_shards(run: Run, cells: Sequence[str], indices: Sequence[int], count: int, progress: ProgressFile) -> int:
    """Predict the shards with `count` processes; the exit code. A dead worker's shard is retaken by one that waits."""
    todo = missing_shards(run, cells, indices, deep=True)
    if not todo:
        for cell in cells:
            remove_remains(run.paths.cell(cell))
        say(f"{', '.join(cells)}: all {len(indices)} shards are there")
        return DONE
    progress.update(
        state="running", total=sum(len(shard_range(run.test_count, index, run.num_shards)) for _, index in todo)
    )
    span = f"{indices[0]}-{indices[-1]}"
    argv = ["predict", str(run.paths.root), "--cell", ",".join(cells), "--shards", span]
    codes = run_workers(argv, min(count, len(todo)), progress)
    left = missing_shards(run, cells, indices, deep=False)
    if not left:
        return DONE
    named = next((code for code in codes if code > 0), None)
    if named is not None:
        return named  # the worker has said why
    shards = ", ".join(f"{cell} {index}" for cell, index in left)
    raise IncompleteError(f"every worker ended before shards {shards} were there: sft rerun {run.paths.typed}")


def missing_shards(run: Run, cells: Sequence[str], indices: Sequence[int], *, deep: bool) -> list[tuple[str, int]]:
    """Cell and index of each shard that is not there as it should be."""
    known = {cell: run.known_parts(cell) for cell in cells}
    return [
        (cell, index)
        for cell in cells
        for index in indices
        if check_shard(run.paths.cell(cell), index, run.num_shards, known[cell], deep=deep).state != VALID
    ]
