"""Group against group: signed differences with Newcombe intervals and Holm-adjusted tests."""

from __future__ import annotations

from html import escape

from sftlib.report.page.cell_table import title_of
from sftlib.report.page.markup import Head, cell_name, colour, folded, named, section, table
from sftlib.report.page.numbers import Numbers, Step, chance, plain, rate, signed
from sftlib.report.page.tracks import Dot, span_of, ticks_of, track

MOST_ROWS = 60


def gaps_section(numbers: Numbers) -> str:
    parts = [
        _cell(numbers, cell, column)
        for cell in numbers.detailed
        for column in numbers.get("cells", cell, "disparities") or {}
    ]
    lead = "First group minus second. A whisker that crosses zero is compatible with no difference. p is adjusted (Holm) over all pairs and both rates."
    return section("pairs", "Differences between groups", lead, _omnibus(numbers), *parts, brief="Differences")


def _cell(numbers: Numbers, cell: str, column: str) -> str:
    pairs = numbers.get("cells", cell, "disparities", column, "pairwise") or []
    if not pairs:
        return ""
    total = numbers.get("cells", cell, "disparities", column, "pairwise_total")
    order = sorted(
        range(len(pairs)),
        key=lambda i: (pairs[i]["p_holm"] is None, pairs[i]["p_holm"] or 0, -abs(pairs[i]["difference"] or 0)),
    )
    shown = sorted(order[:MOST_ROWS])
    span = span_of(pairs[place][end] for place in shown for end in ("low", "high"))
    heads = [
        Head("Rate", is_text=True), Head("Groups", is_text=True), Head("Difference"), Head(f"−{span[1]:g} to {span[1]:g}", is_picture=True),
        Head("Interval"), Head("p"), Head("p (Holm)"),
    ]  # fmt: skip
    rows = [_row(numbers, cell, ("cells", cell, "disparities", column, "pairwise", place), span) for place in shown]
    note = (
        f"<p class='note'>the {MOST_ROWS} clearest of {total} differences; more are in metrics.json</p>"
        if total > MOST_ROWS
        else ""
    )
    return folded(
        f"{cell}: {column}, {total} differences",
        table(heads, rows, f"{cell}: differences between groups of {column}") + note,
        is_open=not numbers.is_baseline(cell) and len(numbers.cells) <= 4,
    )


def _row(numbers: Numbers, cell: str, place: tuple[Step, ...], span: tuple[float, float]) -> list[str]:
    a, b, metric = (numbers.get(*place, key) for key in ("a", "b", "metric"))
    dot = Dot(f"{a} minus {b}", colour(numbers, cell), (*place, "difference"), (*place, "low"), (*place, "high"))
    name = title_of(metric).text if metric != "selection_rate" else "selected"
    interval = f'<span class="bounds">{numbers.show(*place, "low", form=signed)} to {numbers.show(*place, "high", form=signed)}</span>'
    return [
        escape(name), f"{named(a)} − {named(b)}", numbers.show(*place, "difference", form=signed),
        track(numbers, [dot], name, span, ticks_of(span)), interval if numbers.get(*place, "low") is not None else "",
        numbers.show(*place, "p", form=chance), numbers.show(*place, "p_holm", form=chance),
    ]  # fmt: skip


def _omnibus(numbers: Numbers) -> str:
    rows = []
    for cell in numbers.detailed:
        for column in numbers.get("cells", cell, "disparities") or {}:
            for key in ("fpr", "fnr"):
                place = ("cells", cell, "disparities", column, "omnibus", key)
                figures = [
                    numbers.show(*place, "statistic", form=rate),
                    numbers.show(*place, "df", form=plain),
                    numbers.show(*place, "p", form=chance),
                ]
                rows.append(
                    [
                        cell_name(numbers, cell),
                        escape(column),
                        title_of(key).text,
                        *figures,
                        numbers.show(*place, "min_expected", form=rate),
                    ]
                )
    heads = [
        Head("Cell", is_text=True), Head("Column", is_text=True), Head("Rate", is_text=True), Head("χ²"), Head("df"), Head("p"),
        Head("Least expected", "smallest expected count; below about 5 the p-value is rough"),
    ]  # fmt: skip
    return table(heads, rows, "Is there any difference at all: chi-square over all groups") if rows else ""
