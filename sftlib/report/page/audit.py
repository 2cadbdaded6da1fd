"""The data audit on the page: its findings, the lengths with their cut, classes by group, and what splits share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from sftlib.report.page.markup import COLOURS, Head, section, table

WIDTH, HEIGHT = 380, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 30
BAR, GAP = 16, 9
MOST_GROUPS, NAME_WIDTH = 12, 130
MOST_NAMED, MOST_LETTERS = 12, 32  # of the classes in a legend
_STAMPS = {"error": "stamp bad", "warning": "flag"}


def audit_section(record: dict[str, Any] | None) -> str:
    """`record` is audit.json; empty where a run was not audited, None where there are no data to audit."""
    if record is None:
        return ""
    if not record:
        return section(
            "audit", "Data audit", "", '<p class="note">The data of this run were not audited: sft audit RUN, then sft merge RUN.</p>',
            brief="Data",
        )  # fmt: skip
    findings = _findings(record["findings"]) if record["findings"] else '<p class="note">Nothing was found.</p>'
    left_out = "".join(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in record["left_out"].items())
    notes = f'<div class="notes"><h3>Not checked</h3><ul>{left_out}</ul></div>' if left_out else ""
    # In one order for all splits: a class keeps its colour.
    classes = list(dict.fromkeys(label for split in record["splits"].values() for label in split["classes"]))
    charts = [
        *(_lengths(name, split["lengths"]) for name, split in record["splits"].items() if split["lengths"]),
        *(_groups(name, split, classes) for name, split in record["splits"].items() if split["groups"]),
        _overlaps(record["overlaps"]),
    ]
    lead = "What was found in the records, their targets and their prompts before anything was trained."
    return section(
        "audit", "Data audit", lead, findings, notes, f'<div class="charts">{"".join(charts)}</div>', brief="Data"
    )


def _findings(findings: Sequence[dict[str, Any]]) -> str:
    heads = [Head("Level", is_text=True), Head("Finding", is_text=True), Head("Split", is_text=True),
             Head("Records"), Head("Of"), Head("In words", is_text=True)]  # fmt: skip
    rows = [
        [
            f'<span class="{_STAMPS[found["level"]]}">{escape(found["level"])}{", accepted" if found["accepted"] else ""}</span>',
            escape(found["title"]), escape(found["split"]), f"{found['count']:,}", f"{found['of']:,}",
            f'<span class="words">{escape(found["sentence"])}</span>',
        ]
        for found in findings
    ]  # fmt: skip
    return table(heads, rows, "What the audit found")


def _figure(title: str, detail: str, words: str, height: float, inside: str, legend: str = "") -> str:
    return (
        f"<figure><figcaption><b>{escape(title)}</b> {escape(detail)}</figcaption>{legend}"
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(words)}">{inside}</svg></figure>'
    )


def _lengths(split: str, lengths: dict[str, Any]) -> str:
    """A histogram; the cut at train.max_length is a line where it is near enough to be seen."""
    counts, width, limit = lengths["counts"], lengths["bin"], lengths["limit"]
    top, end = max(counts), width * len(counts)
    if limit and limit <= 2 * end:
        end = max(end, limit * 1.04)
    scale = (WIDTH - LEFT - RIGHT) / end
    floor = HEIGHT - BOTTOM
    bars = [
        f'<rect x="{LEFT + i * width * scale:.1f}" y="{floor - (floor - TOP) * n / top:.1f}" width="{max(0.6, width * scale - 0.8):.1f}" '
        f'height="{(floor - TOP) * n / top:.1f}" style="fill:var({"--bad" if limit and i * width > limit else "--c0"})">'
        f"<title>{i * width} to {(i + 1) * width - 1} {escape(lengths['unit'])}: {n:,} records</title></rect>"
        for i, n in enumerate(counts)
        if n
    ]
    ticks = [
        f'<text x="{LEFT + share * end * scale:.1f}" y="{floor + 18}" text-anchor="{anchor}">{share * end:,.0f}</text>'
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]
    cut = ""
    if limit and limit <= end:
        x = LEFT + limit * scale
        cut = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{floor}" style="stroke:var(--bad);stroke-width:1.5"/>'
            f'<text x="{x - 5:.1f}" y="{TOP}" text-anchor="end">cut at {limit:,}</text>'
        )
    frame = (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>'
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{top:,}</text>'
    )
    detail = f"median {lengths['median']:,}, 95% under {lengths['p95']:,}, longest {lengths['max']:,} {lengths['unit']}"
    if limit and not cut:
        detail += f"; cut at {limit:,}"
    return _figure(
        f"Lengths, {split}", detail, f"Lengths of {split}: {detail}", HEIGHT, frame + "".join(bars + ticks) + cut
    )


def _groups(name: str, split: dict[str, Any], classes: Sequence[str]) -> str:
    """One bar a group, its classes side by side."""
    groups = sorted(split["groups"].items(), key=lambda item: -sum(item[1].values()))[:MOST_GROUPS]
    most = max(sum(counts.values()) for _, counts in groups)
    room = WIDTH - NAME_WIDTH - 46
    parts, words = [], []
    for row, (group, counts) in enumerate(groups):
        y, x = 4 + row * (BAR + GAP), float(NAME_WIDTH)
        parts.append(_name(group.partition("=")[2] or group, y))
        for place, label in enumerate(classes):
            length = room * counts.get(label, 0) / most
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{BAR}" style="fill:var(--c{place % COLOURS})">'
                f"<title>{escape(group)}, {escape(label)}: {counts.get(label, 0):,}</title></rect>"
            )
            x += length
        total = sum(counts.values())
        parts.append(f'<text x="{x + 5:.1f}" y="{y + 12}">{total:,}</text>')
        words.append(f"{group}: " + ", ".join(f"{label} {counts.get(label, 0):,}" for label in classes))
    more = f" the {MOST_GROUPS} largest of {len(split['groups'])} groups" if len(split["groups"]) > MOST_GROUPS else ""
    height = 4 + len(groups) * (BAR + GAP)
    legend = _class_names(classes)
    return _figure(f"Classes by group, {name}", more, "; ".join(words), height, "".join(parts), legend)


def _class_names(classes: Sequence[str]) -> str:
    """Which colour is which class. Of more classes than colours some share one, and the bars say their names on hover."""
    names = "".join(
        f'<span class="cell c{place % COLOURS}"><i aria-hidden="true"></i>{escape(_cut(label, MOST_LETTERS))}</span>'
        for place, label in enumerate(classes[:MOST_NAMED])
    )
    rest = len(classes) - MOST_NAMED
    return f'<p class="legend">{names}{f"<span>and {rest} more</span>" if rest > 0 else ""}</p>'


def _overlaps(overlaps: Sequence[dict[str, Any]]) -> str:
    """The share of each split that stands in another one, exactly and nearly."""
    if not overlaps:
        return ""
    most = max(0.05, *((pair["exact"] + pair["near"]) / max(1, pair["of"]) for pair in overlaps))
    room = WIDTH - NAME_WIDTH - 100
    parts, words = [], []
    for row, pair in enumerate(overlaps):
        y, x, of = TOP + row * (BAR + GAP), float(NAME_WIDTH), max(1, pair["of"])
        parts.append(_name(f"{pair['b']} in {pair['a']}", y))
        parts.append(f'<rect x="{x}" y="{y}" width="{room}" height="{BAR}" style="fill:var(--grid)"/>')
        for kind, colour in (("exact", "--bad"), ("near", "--warn")):
            length = room * pair[kind] / of / most
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{BAR}" style="fill:var({colour})"/>')
            x += length
        text = f"{pair['exact']:,} equal, {pair['near']:,} nearly"
        parts.append(f'<text x="{NAME_WIDTH + room + 4}" y="{y + 12}">{text}</text>')
        words.append(f"{pair['b']} in {pair['a']}: {text} of {pair['of']:,}")
    height = TOP + len(overlaps) * (BAR + GAP)
    return _figure("Texts shared by splits", f"full width: {100 * most:.0f}%", "; ".join(words), height, "".join(parts))


def _name(text: str, y: float) -> str:
    return f'<text x="{NAME_WIDTH - 8}" y="{y + 12}" text-anchor="end">{escape(_cut(text, 19))}</text>'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
