"""What lies in a cell's predictions folder and belongs to nobody: remains of killed processes, shards of other runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sftlib.artifacts.atomic import TEMPORARY_SUFFIX
from sftlib.artifacts.claims import is_claim, is_held_claim
from sftlib.paths import CellPaths

_ASIDE = ".aside"
_SUFFIXES = (".parquet", ".json")


def remains(cell: CellPaths) -> list[Path]:
    """Temporary files and claims of processes that are gone; nothing while one that lives works in the folder."""
    if not cell.predictions.is_dir():
        return []
    claims = [path for path in cell.predictions.iterdir() if is_claim(path)]
    if any(map(is_held_claim, claims)):
        return []
    return sorted([*claims, *cell.predictions.glob(f".*{TEMPORARY_SUFFIX}")])


def remove_remains(cell: CellPaths) -> list[Path]:
    """Remove them; which they were."""
    found = remains(cell)
    for path in found:
        path.unlink(missing_ok=True)
    return found


def strangers(cell: CellPaths, count: int) -> list[Path]:
    """Shards and manifests that are none of this run's places: copies, another number of shards."""
    if not cell.predictions.is_dir():
        return []
    ours = {
        path.name for index in range(count) for path in (cell.shard(index, count), cell.shard_manifest(index, count))
    }
    return sorted(path for path in cell.predictions.iterdir() if path.suffix in _SUFFIXES and path.name not in ours)


def tidy(cell: CellPaths, count: int) -> Iterator[str]:
    """Remove remains, move strangers aside under names that no glob matches; says each that it touched."""
    for path in remove_remains(cell):
        yield f"removed {path}, which a process that is gone left behind"
    for path in strangers(cell, count):
        target = cell.predictions / _ASIDE / f"{path.name}.stray"
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        yield f"moved {path} to {target}: it is no shard of this run"
