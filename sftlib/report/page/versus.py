"""Cell against cell: differences on the same records, and the records that changed sides."""

from __future__ import annotations

from html import escape
from typing import Any

from sftlib.metrics.verdicts import is_significant
from sftlib.report.page.cell_table import title_of
from sftlib.report.page.markup import Head, cell_name, colour, folded, masked, named, section, table
from sftlib.report.page.numbers import Numbers, Step, chance, plain, signed, whole
from sftlib.report.page.tracks import Dot, span_of, ticks_of, track

MOST_OPEN = 4
LONGEST_TEXT = 400  # letters of a model's answer


def versus_section(numbers: Numbers) -> str:
    entries = list(enumerate(numbers.metrics["comparisons"]))
    asked = [(place, entry) for place, entry in entries if entry["kind"] != "cells"]
    detailed = [place for place, entry in asked if entry["a"] in numbers.detailed]
    baseline = [_entry(numbers, place, entry) for place, entry in asked if place in detailed]
    brief_ones = [(place, entry) for place, entry in asked if place not in detailed]
    others = [(place, entry) for place, entry in entries if entry["kind"] == "cells"]
    is_pair = any(entry["kind"] == "pair" for _, entry in entries)
    title, brief = ("Comparison", "Comparison") if is_pair else ("Comparison with the baseline", "Baseline")
    lead = (
        "Paired by sample id. Differences are first minus second; p-values are adjusted for the number of cells tried."
    )
    shown, rest = baseline[:MOST_OPEN], "".join(baseline[MOST_OPEN:])
    more = folded(f"{len(baseline) - MOST_OPEN} more cells", rest) if rest else ""
    further = _brief(numbers, brief_ones, "Further cells, by the headline metric")
    return section("versus", title, lead, *shown, more, further, brief=brief) + _others(numbers, others)


def _entry(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    title = f'<h3>{cell_name(numbers, entry["a"])} <span class="against">against</span> {cell_name(numbers, entry["b"])}</h3>'
    sentence = f"<p {numbers.attributes('comparisons', place, 'verdict')}>{escape(entry['verdict'])}</p>"
    span = span_of(change[end] for change in entry["metrics"].values() for end in ("low", "high"))
    rows = [_metric(numbers, place, entry, key, span) for key in entry["metrics"]]
    heads = [
        Head("Metric", is_text=True), Head("First"), Head("Second"), Head("Difference"), Head(f"−{span[1]:g} to {span[1]:g}", is_picture=True),
        Head("Interval"), Head("p"), Head("p (Holm)"), Head("Records needed", "to see a difference of this size with 80% power"),
    ]  # fmt: skip
    return title + sentence + table(heads, rows, f"{entry['a']} minus {entry['b']}") + _flips(numbers, place, entry)


def _metric(numbers: Numbers, place: int, entry: dict[str, Any], key: str, span: tuple[float, float]) -> list[str]:
    at = ("comparisons", place, "metrics", key)
    dot = Dot(title_of(key).text, colour(numbers, entry["a"]), (*at, "difference"), (*at, "low"), (*at, "high"))
    return [
        title_of(key).text, numbers.show(*at, "a"), numbers.show(*at, "b"), numbers.show(*at, "difference", form=signed),
        track(numbers, [dot], f"difference in {key}", span, ticks_of(span)),
        f'<span class="bounds">{numbers.show(*at, "low", form=signed)} to {numbers.show(*at, "high", form=signed)}</span>',
        numbers.show(*at, "p", form=chance), numbers.show(*at, "p_holm", form=chance),
        numbers.show(*at, "needed_records", form=whole),
    ]  # fmt: skip


def _flips(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    """Who gained and who lost: all records, then each group."""
    rows = [["all records", *_flip_row(numbers, ("comparisons", place, "flips"), ("comparisons", place, "n"))]]
    for column, groups in entry.get("flips_by_group", {}).items():
        for group in groups:
            at = ("comparisons", place, "flips_by_group", column, group)
            rows.append([_group(entry, column, group), *_flip_row(numbers, at, (*at, "n"))])
    heads = [
        Head("Records", is_text=True), Head("n"), Head("Both right"), Head(f"Only {entry['a']} right"),
        Head(f"Only {entry['b']} right"), Head("Both wrong"),
    ]  # fmt: skip
    mcnemar = numbers.show("comparisons", place, "mcnemar", "exact_p", form=chance)
    flipped = table(heads, rows, "Records that changed sides")
    note = f"<p class='note'>McNemar, exact: p {mcnemar}{_higher(numbers, place, entry)}</p>"
    return _group_changes(numbers, place, entry) + flipped + note + _examples(numbers, place, entry)


def _higher(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    """Of open-ended answers: on how many records either side is closer to the reference, match or not."""
    if "rouge_l" not in entry["metrics"]:
        return ""
    at = ("comparisons", place, "metrics", "rouge_l")
    a, b, tied = (numbers.show(*at, key, form=whole) for key in ("a_higher", "b_higher", "tied"))
    return (
        f". ROUGE-L is higher for {escape(entry['a'])} on {a} records, for {escape(entry['b'])} on {b}, equal on {tied}"
    )


def _group(entry: dict[str, Any], column: str, group: str) -> str:
    return named(group) if len(entry["flips_by_group"]) == 1 else f"{escape(column)}: {named(group)}"


def _flip_row(numbers: Numbers, at: tuple, n: tuple) -> list[str]:
    keys = ("both_right", "a_right_b_wrong", "b_right_a_wrong", "both_wrong")
    return [numbers.show(*n, form=whole), *(numbers.show(*at, key, form=whole) for key in keys)]


def _examples(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    """A few records that one side alone got right. Texts are masked: they may hurt."""
    rows = []
    for way, name in (("a_right_b_wrong", entry["a"]), ("b_right_a_wrong", entry["b"])):
        for at, example in enumerate(entry.get("examples", {}).get(way, [])):
            path = ("comparisons", place, "examples", way, at)
            said = [_said(numbers, *path, side) for side in ("a", "b")]
            groups = ", ".join(named(group) for values in example["groups"].values() for group in values)
            sample = f"<code>{numbers.show(*path, 'sample_id', form=plain)}</code>"
            rows.append([cell_name(numbers, name), sample, groups, _said(numbers, *path, "gold"), *said])
    if not rows:
        return ""
    is_text = numbers.metrics["run"]["task"] == "generation"
    who, true, caption = ("Only right", "True label", "Records that one side alone got right")
    if is_text:
        who, true, caption = ("Better", "Reference", "Records that one side answered better: a match, then ROUGE-L")
    heads = [
        Head(who, is_text=True), Head("Sample", is_text=True), Head("Groups", is_text=True),
        Head(true, is_text=True), Head(entry["a"], is_text=True), Head(entry["b"], is_text=True),
    ]  # fmt: skip
    return folded("A few of them", table(heads, rows, caption))


def _said(numbers: Numbers, *path: Step) -> str:
    """A label, or that there was none; below it the model's own words, hidden."""
    *place, side = path
    label = numbers.get(*path)
    if label is not None and numbers.metrics["run"]["task"] == "generation":
        return masked(label[:LONGEST_TEXT])
    shown = numbers.show(*path, form=plain) if label is not None else "<i>unparsed</i>"
    raw = numbers.get(*place, f"{side}_raw")
    return shown + (f"<br>{masked(raw[:LONGEST_TEXT])}" if raw and raw != label else "")


def _group_changes(numbers: Numbers, place: int, entry: dict[str, Any]) -> str:
    """How much better or worse for whom: the difference of each rate in each group."""
    parts = []
    for column, groups in entry.get("flips_by_group", {}).items():
        known = [group for group in groups if groups[group].get("metrics")]
        keys = list(groups[known[0]]["metrics"]) if known else []
        keys = [key for key in ("fpr", "fnr", *keys) if (key in keys and key != "accuracy") or key == "macro_f1"]
        rows = []
        for group in known:
            at = ("comparisons", place, "flips_by_group", column, group)
            row = [named(group), numbers.show(*at, "n", form=whole)]
            for key in dict.fromkeys(keys):
                low = numbers.get(*at, "metrics", key, "low")
                bounds = [numbers.show(*at, "metrics", key, end, form=signed) for end in ("low", "high")]
                interval = f' <span class="bounds">{bounds[0]} to {bounds[1]}</span>' if low is not None else ""
                row.append(numbers.show(*at, "metrics", key, "difference", form=signed) + interval)
            rows.append(row)
        if rows:
            heads = [Head(column, is_text=True), Head("n"), *(title_of(key) for key in dict.fromkeys(keys))]
            caption = f"By {column}: {entry['a']} minus {entry['b']}, intervals not adjusted for the number of groups"
            parts.append(table(heads, rows, caption))
    return "".join(parts)


def _others(numbers: Numbers, entries: list[tuple[int, dict[str, Any]]]) -> str:
    """Cells with each other, by the headline metric."""
    lead = "The same test between every two cells, so that the best of many is not sold as a discovery."
    content = _brief(numbers, entries, f"Differences in {title_of(numbers.headline).text}")
    return section("others", "Cells with each other", lead, content, brief="Pairs") if content else ""


def _outcome(entry: dict[str, Any], key: str) -> str:
    """The verdict in two words; the sentence is its title."""
    if not is_significant(entry, key):
        return "within noise"
    return f"{escape(entry['a'] if entry['metrics'][key]['difference'] > 0 else entry['b'])} better"


def _brief(numbers: Numbers, entries: list[tuple[int, dict[str, Any]]], caption: str) -> str:
    """A row for each comparison: the headline metric and the sentence."""
    rows, key = [], numbers.headline
    span = span_of(entry["metrics"][key][end] for _, entry in entries for end in ("low", "high"))
    for place, entry in entries:
        row = _metric(numbers, place, entry, key, span)
        rows.append(
            [
                f"{cell_name(numbers, entry['a'])} − {cell_name(numbers, entry['b'])}",
                *row[3:],
                f'<span title="{escape(entry["verdict"])}">{_outcome(entry, key)}</span>',
            ]
        )
    if not rows:
        return ""
    heads = [
        Head("Cells", is_text=True), Head("Difference"), Head(f"−{span[1]:g} to {span[1]:g}", is_picture=True), Head("Interval"), Head("p"),
        Head("p (Holm)"), Head("Records needed", "to see a difference of this size with 80% power"), Head("In words", is_text=True),
    ]  # fmt: skip
    return table(heads, rows, caption)
