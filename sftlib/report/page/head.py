"""The top of the page: what was found, on how many records, and what is missing."""

from __future__ import annotations

from html import escape
from typing import Any

from sftlib.report.page.markup import cell_name, folded, named
from sftlib.report.page.numbers import Numbers, brief, percent, plain, whole

MOST_VERDICTS = 3
LARGE = ("best", "baseline", "pair")  # kinds of verdicts that answer the question
MOST_FINDINGS = 30


def header(numbers: Numbers) -> str:
    run = numbers.metrics["run"]
    stamp = (
        '<span class="stamp good">Complete</span>'
        if numbers.metrics["complete"]
        else '<span class="stamp bad">INCOMPLETE</span>'
    )
    description = f'<p class="description">{escape(run["description"])}</p>' if run["description"] else ""
    return f'<header><p class="kicker">{escape(run["directory"])} {stamp}</p><h1>{escape(run["name"])}</h1>{description}</header>'


def verdict_block(numbers: Numbers) -> str:
    """The comparisons large, the cautions below them."""
    verdicts = list(enumerate(numbers.metrics["verdicts"]))
    large = [_verdict(numbers, place, entry) for place, entry in verdicts if entry["kind"] in LARGE]
    small = [_verdict(numbers, place, entry) for place, entry in verdicts if entry["kind"] not in LARGE]
    shown, rest = large[:MOST_VERDICTS], large[MOST_VERDICTS:]
    more = (
        folded(f"{len(rest)} more comparisons with the baseline", f'<ul class="cautions">{"".join(rest)}</ul>')
        if rest
        else ""
    )
    few, many = small[: 2 * MOST_VERDICTS], small[2 * MOST_VERDICTS :]
    further = folded(f"{len(many)} more", f'<ul class="cautions">{"".join(many)}</ul>') if many else ""
    if not large and not small:
        return ""
    return (
        f'<div class="verdicts"><ul>{"".join(shown)}</ul>{more}'
        + (f'<ul class="cautions">{"".join(few)}</ul>{further}' if few else "")
        + "</div>"
    )


def _verdict(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    tone = entry.get("tone") or "neutral"
    return f'<li class="{tone}" {numbers.attributes("verdicts", place, "sentence")}>{escape(entry["sentence"])}</li>'


def facts(numbers: Numbers) -> str:
    """The figures that everything else depends on."""
    run = numbers.metrics["run"]
    known = [
        ("Test records", numbers.show("coverage", "records", form=whole), ""),
        ("Unparsed answers", numbers.show("coverage", "unparsed_share", form=percent), numbers.show("coverage", "unparsed", form=whole) + " of all cells' answers"),
        ("Shards", numbers.show("coverage", "valid_shards", form=whole) + " of " + numbers.show("coverage", "expected_shards", form=whole), "valid, over all cells"),
        ("Intervals", numbers.show("run", "confidence", form=lambda v: f"{100 * v:g}%"), f'bootstrap {numbers.show("run", "bootstrap", form=whole)}, seed {numbers.show("run", "seed", form=plain)}'),
        ("Method", escape(str(run["method"])), f'positive label {escape(str(run["positive"]))}' if run["positive"] else escape(run["task"])),
        ("Fingerprint", f'<code>{numbers.show("run", "fingerprint", form=brief)}</code>', "of data, prompts, models and settings"),
    ]  # fmt: skip
    if not numbers.is_run:
        known = [entry for entry in known if entry[0] != "Shards" and (entry[0] != "Fingerprint" or run["fingerprint"])]
    return (
        '<dl class="facts">'
        + "".join(f"<div><dt>{title}</dt><dd>{value}<small>{note}</small></dd></div>" for title, value, note in known)
        + "</dl>"
    )


def alarm(numbers: Numbers) -> str:
    """What is missing, how much of each cell and group is there, and how to mend it; nothing where nothing is missing."""
    faults = [finding for finding in numbers.metrics["coverage"]["findings"] if finding["is_fault"]]
    if not faults:
        return ""
    mends = "".join(f"<pre>{escape(mend)}</pre>" for mend in dict.fromkeys(f["mend"] for f in faults if f["mend"]))
    return (
        '<div class="alarm" role="alert"><h2>This report is incomplete</h2>'
        f"<p>All figures below are computed from what is there, and from nothing else.</p>{_list(faults)}"
        f"{_held(numbers)}{f'<p>Mend it with</p>{mends}' if mends else ''}</div>"
    )


def notes(numbers: Numbers) -> str:
    """What makes nothing incomplete and must not be overlooked; after the verdict."""
    found = [finding for finding in numbers.metrics["coverage"]["findings"] if not finding["is_fault"]]
    return f'<div class="notes"><h3>Worth knowing</h3>{_list(found)}</div>' if found else ""


def _list(findings: list[dict[str, Any]]) -> str:
    lines = "".join(f"<li>{escape(finding['sentence'])}</li>" for finding in findings[:MOST_FINDINGS])
    rest = len(findings) - MOST_FINDINGS
    return f"<ul>{lines}{f'<li>and {rest} more, in metrics.json</li>' if rest > 0 else ''}</ul>"


def _held(numbers: Numbers) -> str:
    """Coverage of each cell, and of each group in it."""
    rows = []
    for cell in numbers.cells:
        share = numbers.get("coverage", "cells", cell, "share") or 0.0
        rows.append(
            f"<tr><th scope='row'>{cell_name(numbers, cell)}</th>"
            f"<td>{numbers.show('coverage', 'cells', cell, 'rows', form=whole)} of {numbers.show('coverage', 'records', form=whole)} records</td>"
            f'<td class="bar"><span{" class=whole" if share == 1 else ""} style="width:{100 * share:.1f}%"></span></td><td class="text">{_held_groups(numbers, cell)}</td></tr>'
        )
    unknown = numbers.get("coverage", "records_in_no_cell")
    note = f"<p>{whole(unknown)} records are in no cell; their groups are unknown.</p>" if unknown else ""
    return f'<div class="scroll"><table class="held">{"".join(rows)}</table></div>{note}'


def _held_groups(numbers: Numbers, cell: str) -> str:
    parts = []
    for column, groups in (numbers.get("coverage", "cells", cell, "groups") or {}).items():
        for group in groups:
            place = ("coverage", "cells", cell, "groups", column, group)
            parts.append(
                f"{named(group)} {numbers.show(*place, 'rows', form=whole)}/{numbers.show(*place, 'known', form=whole)}"
            )
    return ", ".join(parts[:12]) + (" …" if len(parts) > 12 else "")
