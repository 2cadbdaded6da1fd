"""What the data audit found, for the report: audit.json comes in, its record and its part of report.txt go out."""

from __future__ import annotations

from typing import Any

from sftlib.config.rundir import Run, read_json
from sftlib.errors import CorruptError
from sftlib.report.text_tables import table, wrapped

SCHEMA_VERSION = 1


def read_audit(run: Run) -> dict[str, Any] | None:
    """None where the run was not audited, or by another version."""
    try:
        record = read_json(run.paths.audit)
    except CorruptError:
        return None
    return record if isinstance(record, dict) and record.get("schema_version") == SCHEMA_VERSION else None


def audit_text(record: dict[str, Any] | None) -> str:
    """The part of report.txt: a line a finding. Nothing where there are no data to audit."""
    if record is None:
        return ""
    if not record:
        return "\nDATA AUDIT\n  not made: sft audit RUN, then sft merge RUN\n"
    rows = [
        [
            found["level"] + (" (accepted)" if found["accepted"] else ""), found["title"], found["split"],
            f"{found['count']:,}", f"{found['of']:,}",
        ]
        for found in record["findings"]
    ]  # fmt: skip
    lines = [table(["level", "finding", "split", "records", "of"], rows, texts=3)] if rows else ["  nothing found"]
    lines += [wrapped(found["sentence"], "  ") for found in record["findings"]]
    lines += [wrapped(f"not checked: {what}: {why}", "  ") for what, why in record["left_out"].items()]
    return "\n".join(["", "DATA AUDIT", *lines, ""])
