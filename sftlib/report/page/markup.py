"""Small pieces of HTML. Every text that comes from data goes through html.escape here or where it is put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sftlib.report.page.numbers import Numbers

KEPT_LETTERS = 28
MOST_ROWS = 1_000  # of a table; a browser sorts no more of them while one waits
COLOURS = 8  # .c0 to .c7 in the style sheet, .cb for a baseline


@dataclass(frozen=True)
class Head:
    """A column's head; `note` explains it on hover, `is_text` puts it to the left."""

    text: str
    note: str = ""
    is_text: bool = False
    is_picture: bool = False


def colour(numbers: Numbers, cell: str) -> str:
    """The class that colours a cell wherever it appears."""
    if numbers.is_baseline(cell):
        return "cb"
    trained = [name for name in numbers.cells if not numbers.is_baseline(name)]
    return f"c{trained.index(cell) % COLOURS}"


def cell_name(numbers: Numbers, cell: str) -> str:
    return f'<span class="cell {colour(numbers, cell)}"><i aria-hidden="true"></i>{escape(cell)}</span>'


def named(text: str) -> str:
    """A name out of the data: never empty to the eye, kept on one line while it is short."""
    if not text.strip():
        return "<i>(blank)</i>"
    return f'<span class="keep">{escape(text)}</span>' if len(text) <= KEPT_LETTERS else escape(text)


def table(
    heads: Sequence[Head], rows: Sequence[Sequence[str]], caption: str, foot: Sequence[Sequence[str]] = ()
) -> str:
    """A table whose columns sort by a click on their head; `foot` rows keep their place. Cells are HTML already."""
    head = "".join(_head(h) for h in heads)
    body = "".join(_row(row, heads) for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS:,} of {len(rows):,} rows; all are in the CSV files)"
    tail = f"<tfoot>{''.join(_row(row, heads) for row in foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="sortable">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{tail}</table></div>"
    )


def _head(head: Head) -> str:
    if head.is_picture:
        return f'<th class="picture">{escape(head.text)}</th>'
    kind = ' class="text"' if head.is_text else ""
    note = f' title="{escape(head.note)}"' if head.note else ""
    return f'<th{kind} aria-sort="none"><button type="button"{note}>{escape(head.text)}</button></th>'


def _row(row: Sequence[str], heads: Sequence[Head]) -> str:
    cells = []
    for place, (content, head) in enumerate(zip(row, heads, strict=True)):
        kind = "text" if head.is_text else "picture" if head.is_picture else ""
        tag = 'th scope="row"' if place == 0 else "td"
        cells.append(f"<{tag}{f' class={kind!r}' if kind else ''}>{content}</{tag.split()[0]}>")
    return f"<tr>{''.join(cells)}</tr>"


def section(name: str, title: str, lead: str, *content: str, brief: str = "") -> str:
    """One part of the page, called `brief` in the navigation; nothing at all where it has no content."""
    inside = "".join(content)
    if not inside:
        return ""
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    return (
        f'<section id="{name}" data-title="{escape(brief or title)}"><h2>{escape(title)}</h2>{lead}{inside}</section>'
    )


def folded(summary: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{escape(summary)}</summary>{content}</details>"


def masked(text: str) -> str:
    """A text that may hurt: blurred until it is clicked."""
    return (
        f'<span class="masked" role="button" tabindex="0" aria-label="hidden text, press to show">{escape(text)}</span>'
    )
