"""The audit for a terminal: audit.json comes in, lines go out."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from sftlib.data.audit.findings import OTHER

WIDTH = 100
_COLOURS = {"error": "\033[31;1m", "warning": "\033[33;1m"}
_RESET = "\033[0m"
MOST_GROUPS = 12


def audit_lines(record: dict[str, Any]) -> Iterator[str]:
    """The splits, the findings as a table, then each finding in a sentence with its places and remedy."""
    colour = sys.stdout.isatty()
    yield f"audit of {record['subject']}"
    if record["guessed"]:
        yield from _wrapped("taken from the records: " + ", ".join(record["guessed"]) + " (change with --set)", "")
    yield ""
    yield from _splits(record["splits"])
    yield ""
    if record["findings"]:
        yield from _table(record["findings"], colour)
        yield ""
        for finding in record["findings"]:
            yield from finding_lines(finding, colour=colour)
    for what, why in record["left_out"].items():
        yield from _wrapped(f"not checked: {what}: {why}", "")
    yield f"{_count(record['errors'], 'error')}, {_count(record['warnings'], 'warning')} in {record['seconds']:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _splits(splits: dict[str, Any]) -> Iterator[str]:
    header = ["split", "records", "length", "median", "p95", "max", "cut at", "classes"]
    rows = [header]
    for name, split in splits.items():
        lengths = split["lengths"]
        shown = [str(lengths.get(key, "")) for key in ("unit", "median", "p95", "max")]
        classes = ", ".join(
            f"{label} {count:,}" for label, count in list(split["classes"].items())[:6] if label != OTHER
        )
        rows.append([name, f"{split['records']:,}", *shown, str(lengths.get("limit") or ""), classes])
    yield from _aligned(rows, "<><>>>><")
    groups = sorted({group for split in splits.values() for group in split["groups"]})
    labels = list(dict.fromkeys(label for split in splits.values() for label in split["classes"]))
    if groups:
        yield ""
        shown_groups = groups[:MOST_GROUPS]
        rows = [["group", *splits]]
        for group in shown_groups:
            cells = [
                " ".join(f"{label} {split['groups'].get(group, {}).get(label, 0):,}" for label in labels[:4])
                for split in splits.values()
            ]
            rows.append([group, *cells])
        yield from _aligned(rows, "<")
        if len(groups) > MOST_GROUPS:
            yield f"  and {len(groups) - MOST_GROUPS} more groups (--json lists all)"


def _table(findings: list[dict[str, Any]], colour: bool) -> Iterator[str]:
    rows = [["", "finding", "split", "records", "of"]]
    for finding in findings:
        rows.append(
            [finding["level"], finding["title"], finding["split"], f"{finding['count']:,}", f"{finding['of']:,}"]
        )
    for index, line in enumerate(_aligned(rows, "<<<>>")):
        yield _coloured(line, findings[index - 1]["level"]) if colour and index else line


def finding_lines(finding: dict[str, Any], *, colour: bool) -> Iterator[str]:
    """One finding in full."""
    head = f"{finding['level'].upper()} {finding['kind']}" + (" (accepted)" if finding["accepted"] else "")
    where = f" in cells {', '.join(finding['cells'])}" if finding["cells"] else ""
    yield (_coloured(head, finding["level"]) if colour else head) + f"  {finding['split']}{where}"
    yield from _wrapped(finding["sentence"], "  ")
    for name in ("by_class", "by_group"):
        if finding[name]:
            parts = [f"{label}: {value}" for label, value in list(finding[name].items())[:MOST_GROUPS]]
            yield from _wrapped(f"{name.replace('_', ' ')}  " + "; ".join(parts), "  ")
    if finding["places"]:
        yield from _wrapped("at  " + "  ".join(finding["places"]), "  ")
    yield from _wrapped("remedy  " + finding["remedy"], "  ")
    yield ""


def _coloured(text: str, level: str) -> str:
    return f"{_COLOURS[level]}{text}{_RESET}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    align = align.ljust(len(widths), "<")
    return ["  ".join(f"{text:{align[c]}{widths[c]}}" for c, text in enumerate(row)).rstrip() for row in rows]
