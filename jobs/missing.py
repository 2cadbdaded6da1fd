"""A run directory in, what is still to be done out: read off manifests, never off the states of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.plan import Need, folds
from sftlib.artifacts.shards import VALID, ShardState, check_shard
from sftlib.config.rundir import Run, read_json
from sftlib.errors import CorruptError


@dataclass(frozen=True)
class Standing:
    """What stands on disk for one cell."""

    cell: str
    untrained: str  # why the adapter is not there; "" when it is, or none is needed
    shards: list[ShardState]
    unmerged: str = ""  # why a merged model that is asked for is not there

    @property
    def missing_shards(self) -> tuple[int, ...]:
        """Without its adapter a cell's shards are all in question: the stage looks at each again after training."""
        if self.untrained:
            return tuple(shard.index for shard in self.shards)
        # Two valid shards with different settings cannot both stay; the stage knows which is right.
        mixed = len({s.manifest.fingerprint for s in self.shards if s.manifest and s.state == VALID}) > 1
        return tuple(shard.index for shard in self.shards if mixed or shard.state != VALID)


def standings(run: Run, *, deep: bool) -> Iterator[Standing]:
    """Cell by cell; `deep` re-hashes every shard."""
    for cell in run.cells:
        paths = run.paths.cell(cell.id)
        untrained = "" if cell.is_baseline else run.why_untrained(cell.id, deep=deep)
        known = {} if untrained else run.known_parts(cell.id)  # of an adapter that is there
        shards = [check_shard(paths, index, run.num_shards, known, deep=deep) for index in range(run.num_shards)]
        unmerged = "" if cell.is_baseline or not folds(run.config) else untrained or run.why_unmerged(cell.id)
        yield Standing(cell.id, untrained, shards, unmerged)


def find_missing(run: Run, *, deep: bool) -> Need:
    """What a run or rerun has to submit."""
    found = list(standings(run, deep=deep))
    train = tuple(cell.cell for cell in found if cell.untrained)
    shards = {cell.cell: cell.missing_shards for cell in found if cell.missing_shards}
    fold = tuple(cell.cell for cell in found if cell.unmerged)
    return Need(train, shards, merge=bool(train or shards) or not has_current_report(run), fold=fold)


def has_current_report(run: Run) -> bool:
    """Whether a complete report is there that is not older than the shards it was made of."""
    path = run.paths.report.metrics_json
    metrics = _read(path)
    if not metrics or metrics.get("complete") is not True:
        return False
    made = path.stat().st_mtime
    return all(manifest.stat().st_mtime <= made for manifest in _manifests(run) if manifest.exists())


def _manifests(run: Run) -> Iterator[Path]:
    for cell in run.cells:
        for index in range(run.num_shards):
            yield run.paths.cell(cell.id).shard_manifest(index, run.num_shards)


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when it is absent or torn, which here means the same: not done."""
    try:
        value = read_json(path)
    except CorruptError:
        return None
    return value if isinstance(value, dict) else None
