"""`predict --verify`: every shard on disk against its manifest, the test set and the run; nothing is loaded or written."""

from __future__ import annotations

from collections.abc import Iterator

from sftlib.artifacts.hashing import sha256_lines
from sftlib.artifacts.shards import VALID, ShardState, check_shard, read_shard, shard_range
from sftlib.artifacts.strays import remains, strangers
from sftlib.config.inputs import sample_ids
from sftlib.config.rundir import Run
from sftlib.errors import CorruptError, IncompleteError


def verify_shards(run: Run, cells: list[str]) -> None:
    """Print what was found; raises IncompleteError when a shard is not as it should be."""
    bad = 0
    for cell in cells:
        faults = list(_faults(run, cell))
        print(f"{cell}: {run.num_shards - len(faults)} of {run.num_shards} shards are valid")
        for fault in faults:
            print(f"  {fault}")
        paths = run.paths.cell(cell)
        for path in [*remains(paths), *strangers(paths, run.num_shards)]:
            print(f"  {path.name}: belongs to no shard of this run; it is never read, and sft rerun puts it away")
        bad += len(faults)
    if bad:
        raise IncompleteError(f"{bad} shards are not there as they should be: sft rerun {run.paths.typed}")


def _faults(run: Run, cell: str) -> Iterator[str]:
    config = run.cell_config(cell)
    ids = sample_ids(run.split(config, "test").records, config.data.id_column)
    known = run.known_parts(cell)
    fingerprints: dict[str, int] = {}
    for index in range(run.num_shards):
        state = check_shard(run.paths.cell(cell), index, run.num_shards, known)
        reason = f"{state.state}: {state.reason}".removesuffix(": ")
        if state.state == VALID and state.manifest:
            fingerprints.setdefault(state.manifest.fingerprint, index)
            reason = _content_fault(run, cell, state, ids)
            if not reason and len(fingerprints) > 1:
                reason = f"foreign: predicted with other settings than shard {min(fingerprints.values())}"
        if reason:
            yield f"shard {index} of {run.num_shards}  {reason}"


def _content_fault(run: Run, cell: str, state: ShardState, ids: list[str]) -> str:
    """Whether the rows are those of the shard's place in the test set."""
    where = shard_range(len(ids), state.index, run.num_shards)
    try:
        table = read_shard(run.paths.cell(cell), state.index, run.num_shards)
    except CorruptError as error:
        return f"corrupt: {error}"
    found = table["sample_id"].to_pylist()
    if found != ids[where.start : where.stop]:
        return f"foreign: {len(found)} rows that are not rows {where.start} to {where.stop - 1} of the test set"
    if state.manifest and state.manifest.ids_sha256 != sha256_lines(found):
        return "corrupt: the manifest names other samples than the file holds"
    return ""
