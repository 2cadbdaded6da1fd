"""For whom it is worse: error rates of every group as dots with whiskers on one axis, and the same as a table."""

from __future__ import annotations

from html import escape

from sftlib.report.page.cell_table import columns, title_of
from sftlib.report.page.markup import Head, cell_name, colour, folded, named, section, table
from sftlib.report.page.numbers import Numbers, percent, rate, whole
from sftlib.report.page.tracks import Dot, axis, track

MOST_GROUPS = 24  # in a picture; the table has all of them
FOLD_ROWS = 40
_LEADS = {
    "fpr": ("False positive rate", "share of negatives called positive"),
    "fnr": ("False negative rate", "share of positives missed"),
    "f1": ("F1", ""),
    "macro_f1": ("Macro-F1", ""),
    "exact_match": ("Exact match", ""),
    "rouge_l": ("ROUGE-L", ""),
}


def groups_section(numbers: Numbers) -> str:
    group_columns = list(numbers.get("cells", numbers.cells[0], "groups") or {}) if numbers.cells else []
    parts = [_column(numbers, column) for column in group_columns]
    small = numbers.metrics["run"]["small_group"]
    lead = f"Whiskers are Wilson intervals. A <b class='flag'>small</b> group has fewer than {small} positives or negatives."
    return section("groups", "Groups", lead if numbers.is_binary else "", *parts)


def _column(numbers: Numbers, column: str) -> str:
    rates = ["fpr", "fnr"] if _has(numbers, column, "fpr") else [numbers.headline]
    pictures = "".join(_picture(numbers, column, rate) for rate in rates)
    content = _table(numbers, column)
    if len(groups_of(numbers, column)) * len(numbers.cells) > FOLD_ROWS:
        content = folded("All groups as a table", content)
    return f"<h3>{escape(column)}</h3>{legend(numbers)}<div class='pictures'>{pictures}</div>{content}{_gaps(numbers, column)}"


def _has(numbers: Numbers, column: str, key: str) -> bool:
    return any(
        numbers.get("cells", cell, "groups", column, group, key) is not None
        for cell in numbers.cells
        for group in groups_of(numbers, column)
    )


def groups_of(numbers: Numbers, column: str) -> list[str]:
    """All groups of a column, whatever cell has them."""
    return list(
        dict.fromkeys(group for cell in numbers.cells for group in numbers.get("cells", cell, "groups", column) or {})
    )


def legend(numbers: Numbers, cells: list[str] | None = None) -> str:
    shown = numbers.pictured() if cells is None else cells
    return f'<p class="legend">{" ".join(cell_name(numbers, cell) for cell in shown)}</p>'


def _picture(numbers: Numbers, column: str, key: str) -> str:
    groups = groups_of(numbers, column)
    sizes = {
        group: max(numbers.get("cells", cell, "groups", column, group, "n") or 0 for cell in numbers.cells)
        for group in groups
    }
    largest = sorted(groups, key=lambda group: -sizes[group])[:MOST_GROUPS]
    title, note = _LEADS[key]
    rows = "".join(_line(numbers, column, group, key) for group in groups if group in largest)
    left_out = (
        f"<p class='note'>the {MOST_GROUPS} largest of {len(groups)} groups</p>" if len(groups) > MOST_GROUPS else ""
    )
    overall = _overall(numbers, key)
    return (
        f'<figure><figcaption><b>{title}</b> {note}</figcaption><div class="rows">{rows}{overall}'
        f"<span></span>{axis()}</div>{left_out}</figure>"
    )


def _line(numbers: Numbers, column: str, group: str, key: str) -> str:
    dots = [
        Dot(
            cell,
            colour(numbers, cell),
            ("cells", cell, "groups", column, group, key),
            is_hollow=numbers.is_baseline(cell),
        )
        for cell in numbers.pictured()
    ]
    return f'<span class="label" title="{escape(group)}">{named(group)}</span>{track(numbers, dots, f"{title_of(key).text} of {group}")}'


def _overall(numbers: Numbers, key: str) -> str:
    dots = [
        Dot(cell, colour(numbers, cell), ("cells", cell, "overall", key), is_hollow=numbers.is_baseline(cell))
        for cell in numbers.pictured()
    ]
    return f'<span class="label all">all records</span>{track(numbers, dots, f"{title_of(key).text} of all records")}'


def _table(numbers: Numbers, column: str) -> str:
    keys = [key for key in columns(numbers) if key != "accuracy"]
    binary = numbers.is_binary
    heads = [Head("Cell", is_text=True), Head("Group", is_text=True), Head("n")]
    heads += [Head("n+", "positives"), Head("n−", "negatives")] if binary else []
    heads += [title_of(key) for key in keys]
    heads += [Head("Selected", "share of all records called positive")] if binary else []
    heads += [Head("Parsed", "share of answers that could be read")]
    rows = []
    for cell in numbers.detailed:
        for group in numbers.get("cells", cell, "groups", column) or {}:
            place = ("cells", cell, "groups", column, group)
            row = [
                cell_name(numbers, cell),
                named(group) + _flags(numbers, cell, column, group),
                numbers.show(*place, "n", form=whole),
            ]
            row += [numbers.show(*place, key, form=whole) for key in ("n_positive", "n_negative")] if binary else []
            row += [numbers.ranged(*place, key) for key in keys]
            row += [numbers.show(*place, "selection_rate")] if binary else []
            rows.append([*row, numbers.show(*place, "parse_rate", form=percent)])
    return table(heads, rows, f"Groups of {column}")


def _flags(numbers: Numbers, cell: str, column: str, group: str) -> str:
    small = numbers.get("cells", cell, "disparities", column, "small_groups") or {}
    return ' <b class="flag">small</b>' if group in small else ""


def _gaps(numbers: Numbers, column: str) -> str:
    """Parity and odds over all groups: they describe; they are ranges and are never tested."""
    names = {
        "demographic_parity_difference": Head(
            "Parity gap", "demographic parity difference: range of the selection rate"
        ),
        "equalized_odds_difference": Head(
            "Odds gap", "equalized odds difference: the larger of the TPR and FPR ranges"
        ),
        "equal_opportunity_difference": Head("Opportunity gap", "equal opportunity difference: range of the TPR"),
        "fped": Head("FPED", "summed distance of the groups' FPR from the overall FPR"),
        "fned": Head("FNED", "summed distance of the groups' FNR from the overall FNR"),
    }
    cells = [cell for cell in numbers.detailed if numbers.get("cells", cell, "disparities", column)]
    if not cells:
        return ""
    heads = [
        Head("Cell", is_text=True),
        *names.values(),
        Head("Reference", "group that ratios in bias.csv refer to", is_text=True),
    ]
    rows = []
    for cell in cells:
        place = ("cells", cell, "disparities", column)
        reference = numbers.show(*place, "reference", form=lambda value: str(value or "–"))
        rows.append([cell_name(numbers, cell), *(numbers.show(*place, key, form=rate) for key in names), reference])
    return table(heads, rows, f"Gaps between the groups of {column}")
