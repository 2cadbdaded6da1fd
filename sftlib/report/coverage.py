"""What stands in a run directory against what should: manifests come in, usable shards and findings go out.

Manifests are trusted, not globs: a file is read only because a valid manifest names it. A shard that breaks a rule is
left out and named, never half used. Files are hashed when they are read (contents.py), each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.shards import VALID, ShardManifest, ShardState, check_shard, shard_range
from sftlib.config.rundir import Run
from sftlib.errors import CorruptError
from sftlib.report.findings import DUPLICATE, FOREIGN, Finding, rerun_command
from sftlib.report.leftovers import leftover_findings


@dataclass
class CellCoverage:
    """One cell's usable shards, by index, and what is wrong with the others."""

    cell: str
    shards: dict[int, ShardManifest] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def refuse(self, run: Run, index: int, kind: str, reason: str) -> None:
        """Leave a shard out, and say why."""
        del self.shards[index]
        self.findings.append(shard_finding(run, self.cell, index, kind, reason))

    @property
    def rows(self) -> int:
        return sum(manifest.row_count for manifest in self.shards.values())

    @property
    def num_bytes(self) -> int:
        return sum(manifest.file_bytes for manifest in self.shards.values())

    @property
    def fingerprint(self) -> str | None:
        return next((manifest.fingerprint for manifest in self.shards.values()), None)

    @property
    def parts(self) -> dict[str, str | None]:
        return next((manifest.parts for manifest in self.shards.values()), {})


def check_coverage(run: Run) -> dict[str, CellCoverage]:
    """Every cell's manifests checked: of this run, each row once, one fingerprint, the same ids in all cells."""
    cells = {cell.id: _check_cell(run, cell.id) for cell in run.cells}
    _refuse_other_ids(run, cells)
    return cells


def run_fingerprint(cells: Mapping[str, CellCoverage]) -> str | None:
    """One hash for everything that shaped the predictions of all cells; None while any cell has none."""
    known: dict[str, Any] = {name: cell.fingerprint for name, cell in cells.items()}
    return sha256_value(known) if known and all(known.values()) else None


def _check_cell(run: Run, name: str) -> CellCoverage:
    coverage, count = CellCoverage(name), run.num_shards
    known = _known_parts(run, name)
    for index in range(count):
        state = check_shard(run.paths.cell(name), index, count, known, deep=False)  # hashed when it is read
        fault = _fault(run, state, coverage)
        if fault:
            coverage.findings.append(shard_finding(run, name, index, *fault))
        elif state.manifest:
            coverage.shards[index] = state.manifest
    _refuse_other_fingerprints(run, coverage)
    coverage.findings += leftover_findings(run, name)
    return coverage


def _fault(run: Run, state: ShardState, coverage: CellCoverage) -> tuple[str, str] | None:
    """Kind and reason of what is wrong with a shard, as far as its manifest and size tell."""
    manifest = state.manifest
    if state.state != VALID or manifest is None:
        # A shard of this very cell that stands where another should: the rows it holds are there twice.
        twice = state.state == FOREIGN and manifest and manifest.cell == coverage.cell
        is_moved = twice and manifest and manifest.shard_index != state.index
        return (DUPLICATE if is_moved else state.state), state.reason
    expected = shard_range(run.test_count, manifest.shard_index, manifest.num_shards)
    found = range(manifest.first_row, manifest.first_row + manifest.row_count)
    if found != expected:
        kind = FOREIGN if found.start >= run.test_count else DUPLICATE
        return kind, f"rows {_span(found)}, expected {_span(expected)}"
    twin = next((index for index, other in coverage.shards.items() if other.ids_sha256 == manifest.ids_sha256), None)
    return None if twin is None else (DUPLICATE, f"its samples are those of shard {twin}")


def _known_parts(run: Run, name: str) -> dict[str, str | None]:
    """A torn adapter record is a finding about the training, and no reason to give up the report."""
    try:
        return run.known_parts(name)
    except CorruptError:
        return {"test": run.inputs["test"]["sha256"]}


def shard_finding(run: Run, cell: str, index: int, kind: str, reason: str) -> Finding:
    return Finding(kind, cell, f"shard {index} of {run.num_shards}", reason, rerun_command(run.paths.root))


def _span(rows: range) -> str:
    return f"{rows.start} to {rows.stop - 1}" if rows else "none"


def _refuse_other_fingerprints(run: Run, coverage: CellCoverage) -> None:
    """One fingerprint a cell: that of most shards, the first of equals; the others were predicted with other things."""
    counts = Counter(manifest.fingerprint for manifest in coverage.shards.values())
    if len(counts) < 2:
        return
    kept = counts.most_common(1)[0][0]
    parts = next(manifest.parts for manifest in coverage.shards.values() if manifest.fingerprint == kept)
    for index, manifest in list(coverage.shards.items()):
        if manifest.fingerprint != kept:
            other = ", ".join(name for name in parts if manifest.parts.get(name) != parts[name])
            reason = f"predicted with another {other} than the other shards of this cell"
            coverage.refuse(run, index, FOREIGN, reason)


def _refuse_other_ids(run: Run, cells: Mapping[str, CellCoverage]) -> None:
    """Shard i holds the same samples in every cell, or cells could not be compared record by record."""
    for index in range(run.num_shards):
        first: tuple[str, str] | None = None
        for name, manifest in _holding(cells, index):
            if first is None:
                first = name, manifest.ids_sha256
            elif manifest.ids_sha256 != first[1]:
                reason = f"its sample ids are not those of cell {first[0]}"
                cells[name].refuse(run, index, FOREIGN, reason)


def _holding(cells: Mapping[str, CellCoverage], index: int) -> Iterator[tuple[str, ShardManifest]]:
    for name, cell in cells.items():
        if index in cell.shards:
            yield name, cell.shards[index]
