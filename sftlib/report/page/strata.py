"""The same rates by source and by original label, and by group within each: a gap that is only composition vanishes."""

from __future__ import annotations

from html import escape

from sftlib.report.page.cell_table import columns, title_of
from sftlib.report.page.markup import Head, cell_name, folded, named, section, table
from sftlib.report.page.numbers import Numbers, Step, whole

_TITLES = {"source": "Source", "original_label": "Original label"}
MOST_OPEN = 40


def strata_section(numbers: Numbers) -> str:
    parts = [_strata(numbers, name) for name in _TITLES]
    parts += [_standardised(numbers)] if any(parts) else []  # without strata there is nothing to standardise by
    lead = "Rates within one source or one original label. Where a gap between groups shrinks here, it came from the mix of records."
    return section("strata", "By source and original label", lead, *parts, brief="Sources")


def _strata(numbers: Numbers, name: str) -> str:
    if not any(numbers.get("cells", cell, "stratified", name) for cell in numbers.cells):
        return ""
    rows = [
        [cell_name(numbers, cell), named(value), *_figures(numbers, "cells", cell, "stratified", name, value)]
        for cell in numbers.detailed
        for value in numbers.get("cells", cell, "stratified", name) or {}
    ]
    heads = [Head("Cell", is_text=True), Head(_TITLES[name], is_text=True), *_heads(numbers)]
    return table(heads, rows, f"By {_TITLES[name].lower()}") + _within(numbers, name)


def _within(numbers: Numbers, name: str) -> str:
    """Groups inside each stratum, folded: long, and needed only by who doubts a gap."""
    rows = []
    for cell in numbers.detailed:
        for column, strata in (numbers.get("cells", cell, "stratified", f"group_by_{name}") or {}).items():
            for stratum, groups in strata.items():
                for group in groups:
                    place = ("cells", cell, "stratified", f"group_by_{name}", column, stratum, group)
                    rows.append([cell_name(numbers, cell), named(stratum), named(group), *_figures(numbers, *place)])
    if not rows:
        return ""
    heads = [
        Head("Cell", is_text=True),
        Head(_TITLES[name], is_text=True),
        Head("Group", is_text=True),
        *_heads(numbers),
    ]
    title = f"Groups within each {_TITLES[name].lower()}"
    return folded(f"{title} ({len(rows)} rows)", table(heads, rows, title))


def _heads(numbers: Numbers) -> list[Head]:
    counts = [Head("n+", "positives"), Head("n−", "negatives")] if numbers.is_binary else [Head("n")]
    return [*counts, *(title_of(key) for key in _keys(numbers))]


def _keys(numbers: Numbers) -> list[str]:
    return ["fpr", "fnr", "accuracy"] if numbers.is_binary else columns(numbers)[:3]


def _figures(numbers: Numbers, *place: Step) -> list[str]:
    counts = ("n_positive", "n_negative") if numbers.is_binary else ("n",)
    return [numbers.show(*place, key, form=whole) for key in counts] + [
        numbers.ranged(*place, key) for key in _keys(numbers)
    ]


def _standardised(numbers: Numbers) -> str:
    rows = []
    for cell in numbers.detailed:
        for column in numbers.get("cells", cell, "disparities") or {}:
            for key in ("fpr", "fnr"):
                place = ("cells", cell, "disparities", column, "standardised", key)
                if numbers.get(*place):
                    gaps = [
                        numbers.show(*place, name)
                        for name in ("crude_gap", "common_gap", "standardised_gap", "weight_lost")
                    ]
                    rows.append([cell_name(numbers, cell), escape(column), title_of(key).text, *gaps])
    if not rows:
        return ""
    heads = [
        Head("Cell", is_text=True), Head("Column", is_text=True), Head("Rate", is_text=True),
        Head("Crude gap", "largest minus smallest rate of the groups, as they are"),
        Head("Common strata", "the same over strata that every group has"),
        Head("Standardised", "every group with the same mix of sources and original labels"),
        Head("Left out", "share of records in strata that some group lacks"),
    ]  # fmt: skip
    return table(heads, rows, "Gaps as they are, and with the same mix of records in every group")
