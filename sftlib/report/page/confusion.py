"""Confusion matrices: counts, and shares of their row, one small table a cell."""

from __future__ import annotations

from html import escape

from sftlib.report.page.markup import cell_name, folded, section
from sftlib.report.page.numbers import Numbers, percent, whole

MOST_OPEN = 6


def confusion_section(numbers: Numbers) -> str:
    matrices = [_matrix(numbers, cell) for cell in numbers.cells if numbers.get("cells", cell, "confusion")]
    shown, rest = matrices[:MOST_OPEN], matrices[MOST_OPEN:]
    more = folded(f"{len(rest)} more cells", _grid(numbers, rest)) if rest else ""
    lead = "Rows are the true labels, columns the answers; each row sums to all records of that label, unparsed ones included."
    return section("confusion", "Confusion", lead, _grid(numbers, shown) if shown else "", more)


def _grid(numbers: Numbers, matrices: list[str]) -> str:
    """Side by side while each has room for all of its columns."""
    labels = max(len(numbers.get("cells", cell, "confusion", "labels") or []) for cell in numbers.cells)
    return f'<div class="matrices" style="--least:{max(290, 110 + 72 * (labels + 1))}px">{"".join(matrices)}</div>'


def _matrix(numbers: Numbers, cell: str) -> str:
    labels = numbers.get("cells", cell, "confusion", "labels")
    head = (
        "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
        + '<th scope="col" class="lost">unparsed</th>'
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{"".join(_entry(numbers, cell, row, place, len(labels)) for place in range(len(labels) + 1))}</tr>'
        for row, label in enumerate(labels)
    )
    return f'<div class="scroll"><table class="matrix"><caption>{cell_name(numbers, cell)}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _entry(numbers: Numbers, cell: str, row: int, place: int, num_labels: int) -> str:
    share = numbers.get("cells", cell, "confusion", "shares", row, place) or 0.0
    kind = "right" if place == row else "lost" if place == num_labels else "wrong"
    count = numbers.show("cells", cell, "confusion", "counts", row, place, form=whole)
    part = numbers.show("cells", cell, "confusion", "shares", row, place, form=percent)
    return f'<td class="{kind}" style="--share:{share:.3f}">{count}<small>{part}</small></td>'
