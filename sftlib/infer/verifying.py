"""`predict --verify`: every shard on disk against its manifest, the test set and the run; nothing is loaded or written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sftlib.artifacts.hashing import sha256_lines
from sftlib.artifacts.shards import VALID, ShardState, check_shard, read_shard, shard_range
from sftlib.artifacts.strays import remains, strangers
from sftlib.config.inputs import sample_ids
from sftlib.config.rundir import Run
from sftlib.errors import CorruptError, IncompleteError


def verify_shards(run: Run, cells: list[str], *, as_json: bool = False) -> None:
    """Print what was found; raises IncompleteError when a shard is not as it should be."""
    found = {}
    for cell in cells:
        found[cell] = _look_at(run, cell)
        if not as_json:
            print(*_lines(cell, found[cell]), sep="\n")
    if as_json:
        print(json.dumps({"shards": run.num_shards, "cells": found}, indent=2, ensure_ascii=False))
    bad = sum(len(cell["faults"]) for cell in found.values())
    if bad:
        raise IncompleteError(f"{bad} shards are not there as they should be: sft rerun {run.paths.typed}")


def _look_at(run: Run, cell: str) -> dict[str, Any]:
    faults = [{"shard": index, "reason": reason} for index, reason in _faults(run, cell)]
    paths = run.paths.cell(cell)
    strays = [path.name for path in (*remains(paths), *strangers(paths, run.num_shards))]
    return {"valid": run.num_shards - len(faults), "faults": faults, "strays": strays}


def _lines(cell: str, found: dict[str, Any]) -> Iterator[str]:
    count = found["valid"] + len(found["faults"])
    yield f"{cell}: {found['valid']} of {count} shards are valid"
    for fault in found["faults"]:
        yield f"  shard {fault['shard']} of {count}  {fault['reason']}"
    for name in found["strays"]:
        yield f"  {name}: belongs to no shard of this run; it is never read, and sft rerun puts it away"


def _faults(run: Run, cell: str) -> Iterator[tuple[int, str]]:
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
            yield index, reason


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
