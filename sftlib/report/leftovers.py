"""Files in a cell's predictions folder that are no shard of this run: the folder comes in, findings go out."""

from __future__ import annotations

from pathlib import Path

from sftlib.artifacts.atomic import TEMPORARY_SUFFIX
from sftlib.config.rundir import Run
from sftlib.report.findings import FOREIGN, TEMPORARY, Finding, merge_command


def leftover_findings(run: Run, cell: str) -> list[Finding]:
    """Strangers that a glob would have read, and what killed attempts left behind."""
    folder = run.paths.cell(cell).predictions
    if not folder.is_dir():
        return []
    ours = {run.paths.cell(cell).shard(index, run.num_shards).name for index in range(run.num_shards)}
    found = [
        _finding(run, cell, path) for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ours
    ]
    return [finding for finding in found if finding]


def _finding(run: Run, cell: str, path: Path) -> Finding | None:
    if path.name.endswith(TEMPORARY_SUFFIX):
        return Finding(TEMPORARY, cell, path.name, mend=f"remove {path}")
    if path.suffix != ".parquet":
        return None
    mend = f"move {path} to another folder, then {merge_command(run.paths.root)}"
    return Finding(FOREIGN, cell, path.name, "it is no shard of this run and was not read", mend)
