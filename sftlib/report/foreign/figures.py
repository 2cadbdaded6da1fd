"""metrics.json of foreign predictions: what was judged comes in, the same form that a run's has goes out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sftlib
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.report.ahead import open_pool
from sftlib.report.attachments import Attachments
from sftlib.report.cells import cell_figures
from sftlib.report.figures import SCHEMA_VERSION, answer_notes
from sftlib.report.findings import Finding
from sftlib.report.foreign.judging import Judged
from sftlib.report.foreign.request import Request
from sftlib.report.foreign.sources import Source
from sftlib.report.sentences import verdicts

MOST_NAMED = 3


def foreign_figures(judged: Judged, request: Request) -> tuple[dict[str, Any], Attachments]:
    """Everything that is known, and what the page shows beside it."""
    paths = [source.path for source in judged.sources]
    with open_pool() as pool:
        digests = dict(zip(map(str, paths), pool.map(sha256_file, paths), strict=True))
    cell = {
        "is_baseline": False, "overrides": {},
        **cell_figures(judged.config, judged.statistics, judged.scheme), "training": None,
    }  # fmt: skip
    cells = {judged.name: cell}
    found = [*judged.findings, *answer_notes(judged.config, cells)]
    asked = {name: value for name, value in vars(request).items() if name != "report"}
    settings = {
        **{key: _plain(value) for key, value in asked.items()},
        "report": request.report.model_dump(),
    }
    fingerprint = sha256_value([list(digests.values()), settings])
    metrics = {
        "schema_version": SCHEMA_VERSION,
        "complete": True,
        "run": _about(judged, request, digests, fingerprint),
        "verdicts": verdicts(cells, [], judged.scheme.headline, judged.scheme.confidence),
        "coverage": _coverage(judged, digests, fingerprint, found),
        "cells": cells,
        "comparisons": [],
    }
    receipt = {"sftlib": sftlib.__version__, "Python": platform.python_version(), **digests}
    return metrics, Attachments(receipt, settings)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _about(judged: Judged, request: Request, digests: dict[str, str], fingerprint: str) -> dict[str, Any]:
    scheme, report = judged.scheme, request.report
    test = {"path": _named(judged.sources), "count": judged.rows, "sha256": sha256_value(list(digests.values()))}
    return {
        "kind": "table", "name": judged.name, "directory": _named(judged.sources), "description": "", "fingerprint": fingerprint,
        "created": None, "sftlib": sftlib.__version__, "task": judged.config.task.type, "labels": list(scheme.labels),
        "positive": scheme.positive, "method": "parsed again" if request.raw else "as predicted", "test": test,
        **{name: getattr(report, name) for name in ("confidence", "bootstrap", "seed", "small_group")},
    }  # fmt: skip


def _named(sources: Sequence[Source]) -> str:
    names = [source.path.name for source in sources]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _coverage(
    judged: Judged, digests: dict[str, str], fingerprint: str, found: Sequence[Finding]
) -> dict[str, Any]:  # fmt: skip
    files, unparsed = len(judged.sources), judged.statistics.unparsed
    cell = {
        "rows": judged.rows, "share": 1.0, "valid_shards": files, "fingerprint": fingerprint, "parts": digests,
        "groups": {},
    }  # fmt: skip
    return {
        "records": judged.rows, "shards": files, "valid_shards": files, "expected_shards": files, "unparsed": unparsed,
        "unparsed_share": unparsed / judged.rows, "records_in_no_cell": 0, "cells": {judged.name: cell},
        "findings": [finding.to_json() for finding in found], "mend": None,
    }  # fmt: skip
