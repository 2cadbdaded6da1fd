"""metrics.json: a run's coverage and statistics come in, the one dictionary that every other file is written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import ENGINE_ERROR
from sftlib.report.ahead import open_pool
from sftlib.report.cells import cell_figures
from sftlib.report.combine import Combined
from sftlib.report.comparisons import compare_run
from sftlib.report.coverage import CellCoverage, run_fingerprint
from sftlib.report.findings import NOTE, Finding, rerun_command
from sftlib.report.scheme import Scheme
from sftlib.report.sentences import verdicts
from sftlib.report.sweep_figures import sweep_figures
from sftlib.report.training import training_figures, training_finding

SCHEMA_VERSION = 1


def run_figures(run: Run, coverage: Mapping[str, CellCoverage], combined: Combined, scheme: Scheme) -> dict[str, Any]:
    """Everything that is known, in the form of docs/metrics.md."""
    with open_pool() as pool:  # drawing replicates leaves Python's lock to the others
        judged = pool.map(lambda cell: cell_figures(run.config, combined.cells[cell.id], scheme), run.cells)
        cells = {
            cell.id: {
                "is_baseline": cell.is_baseline, "overrides": cell.overrides, **figures,
                "training": training_figures(run, cell.id),
            }
            for cell, figures in zip(run.cells, judged, strict=True)
        }  # fmt: skip
    sweep = sweep_figures(cells, scheme.headline)
    comparisons, findings = compare_run(run, coverage, combined, scheme, cells)
    found = [
        *(finding for cell in coverage.values() for finding in cell.findings),
        *filter(None, (training_finding(run, cell.id) for cell in run.cells)),
        *combined.findings, *findings, *answer_notes(run.config, cells),
    ]  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": not any(finding.is_fault for finding in found),
        "run": _about(run, coverage, scheme),
        "verdicts": verdicts(cells, comparisons, scheme.headline, run.config.report.confidence, sweep),
        "coverage": _coverage(run, coverage, combined, found),
        "cells": cells,
        "comparisons": comparisons,
        "sweep": sweep,
    }


def _about(run: Run, coverage: Mapping[str, CellCoverage], scheme: Scheme) -> dict[str, Any]:
    config = run.config
    return {
        "kind": "run",
        "name": config.name,
        "directory": run.paths.root.name,
        "description": config.description,
        "fingerprint": run_fingerprint(coverage),
        "created": run.record["created"],
        "sftlib": run.record["sftlib"],
        "task": config.task.type,
        "labels": list(scheme.labels),
        "positive": scheme.positive,
        "method": config.prediction_method,
        "test": {"path": run.inputs["test"]["path"], "count": run.test_count, "sha256": run.inputs["test"]["sha256"]},
        **{name: getattr(config.report, name) for name in ("confidence", "bootstrap", "seed", "small_group")},
    }


def _coverage(
    run: Run, coverage: Mapping[str, CellCoverage], combined: Combined, found: Sequence[Finding]
) -> dict[str, Any]:
    held = {index for cell in coverage.values() for index in cell.shards}
    known = sum(next(c.shards[i].row_count for c in coverage.values() if i in c.shards) for i in held)
    faults = [finding for finding in found if finding.is_fault]
    rows, unparsed = sum(cell.rows for cell in coverage.values()), sum(c.unparsed for c in combined.cells.values())
    return {
        "records": run.test_count,
        "shards": run.num_shards,
        "valid_shards": sum(len(cell.shards) for cell in coverage.values()),
        "expected_shards": run.num_shards * len(coverage),
        "unparsed": unparsed,
        "unparsed_share": unparsed / rows if rows else None,
        "records_in_no_cell": run.test_count - known,  # their groups are unknown
        "cells": {name: _cell_coverage(run, cell, combined) for name, cell in coverage.items()},
        "findings": [finding.to_json() for finding in found],
        "mend": rerun_command(run.paths.root) if faults else None,
    }


def _cell_coverage(run: Run, cell: CellCoverage, combined: Combined) -> dict[str, Any]:
    mine = combined.cells[cell.cell].group_rows
    return {
        "rows": cell.rows,
        "share": cell.rows / run.test_count,
        "valid_shards": len(cell.shards),
        "fingerprint": cell.fingerprint,
        "parts": cell.parts,
        "groups": {
            column: {
                name: {"rows": mine.get(column, Counter())[name], "known": count}
                for name, count in sorted(rows.items())
            }
            for column, rows in combined.known_rows.items()
        },
    }


def answer_notes(config: SFTConfig, cells: Mapping[str, dict[str, Any]]) -> list[Finding]:
    """What does not make a report incomplete, but must not be overlooked."""
    reference = config.report.reference_group
    known = {group for cell in cells.values() for groups in cell["groups"].values() for group in groups}
    notes = []
    if reference is not None and reference not in known:
        what = f"report.reference_group {reference!r} that is in no group column"
        notes.append(
            Finding(NOTE, None, what, f"the largest group is used; there are: {', '.join(sorted(known)[:20])}")
        )
    for name, cell in cells.items():
        unknown = sum(cell["unparsed"]["unknown_labels"].values())
        if unknown:
            notes.append(
                Finding(NOTE, name, f"{unknown} predictions that are no label of the task", "counted as unparsed")
            )
        if failed := cell["unparsed"]["reasons"].get(ENGINE_ERROR):
            why = "counted as unparsed; the model gave no numbers (has its training diverged?), or the engine broke off"
            notes.append(Finding(NOTE, name, f"{failed} records that the engine could not answer", why))
        if cell["unlabelled"]:
            notes.append(Finding(NOTE, name, f"{cell['unlabelled']} records without a known gold label", "in no rate"))
        if cell["scores"] and cell["scores"]["out_of_range"]:
            count = cell["scores"]["out_of_range"]
            notes.append(
                Finding(NOTE, name, f"{count} scores that are no probabilities", "left out of the score metrics")
            )
    return notes
