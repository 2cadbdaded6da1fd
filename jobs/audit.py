"""The data audit before anything is submitted: `sft audit RUN` as a process of its own, and what it found as an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, get_args

from sftlib.config.data import AuditError
from sftlib.errors import DONE, WRONG_INPUT, DataError, SftError
from sftlib.paths import RunPaths

_MOST_ERRORS = 8


def audit_run(root: Path, accept: Sequence[str], output: TextIO) -> None:
    """Audit a run's data unless that was done; raises DataError with what must not be trained on."""
    record = _read(RunPaths(root).audit)
    if record is None or record["left_out"] or not set(record["accept"]) <= set(accept):
        record = _audit(root, accept)
    _refuse(root, record, accept)
    line = (
        f"{len(record['findings'])} to look at: sft audit {RunPaths(root).typed}"
        if record["findings"]
        else "nothing found"
    )
    for what, why in record["left_out"].items():
        line += f"; not checked: {what} ({why})"
    print(f"audit          {line}", file=output, flush=True)


def refuse_audited(root: Path, accept: Sequence[str]) -> None:
    """Raise what an earlier audit of this run found; says nothing where there was none. Reads one small file."""
    if record := _read(RunPaths(root).audit):
        _refuse(root, record, accept)


def accepted_before(root: Path) -> list[str]:
    """The kinds of errors that the run was started with."""
    record = _read(RunPaths(root).audit)
    return record["accept"] if record else []


def _refuse(root: Path, record: dict[str, Any], accept: Sequence[str]) -> None:
    refused = [found for found in record["findings"] if found["level"] == "error" and found["kind"] not in accept]
    if refused:
        raise DataError(_message(root, refused))


def _audit(root: Path, accept: Sequence[str]) -> dict[str, Any]:
    """The other process may read the data with libraries that this one must not import."""
    command = [sys.executable, "-m", "sftlib", "audit", str(root), "--json"]
    for kind in accept:
        command += ["--accept", kind]
    path = RunPaths(root).audit
    path.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record = _read(path)
    if done.returncode not in (DONE, WRONG_INPUT) or record is None:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        error = DataError if done.returncode == WRONG_INPUT else SftError
        raise error(f"the audit could not be done (exit {done.returncode}): {lines[-1].removeprefix('sft: ')}")
    return record


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _message(root: Path, refused: list[dict[str, Any]]) -> str:
    lines = [
        f"  {found['kind']}, {found['split']}: {found['sentence']}\n    remedy: {found['remedy']}"
        for found in refused[:_MOST_ERRORS]
    ]
    if len(refused) > _MOST_ERRORS:
        lines.append(f"  and {len(refused) - _MOST_ERRORS} more")
    count = "an error" if len(refused) == 1 else f"{len(refused)} errors"
    kinds = dict.fromkeys(found["kind"] for found in refused)
    lines.append(f"all findings: sft audit {RunPaths(root).typed}")
    if kinds.keys() <= set(get_args(AuditError)):
        lines.append(f"to train all the same: data.accept: [{', '.join(kinds)}]")
    return "\n".join([f"the data audit found {count}; nothing was started:", *lines])
