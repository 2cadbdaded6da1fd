"""`compare`: two cells, runs or tables of predictions, paired by sample id: is the difference beyond chance, and who changed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlib.errors import IncompleteError
from sftlib.report.foreign.command import add_columns, add_judgement, column_request, report_settings

if TYPE_CHECKING:
    from sftlib.report.compare.sides import Side, Target
    from sftlib.report.foreign.request import Request
    from sftlib.report.scheme import Scheme

HELP = "two cells, runs or tables of predictions, record by record"
EXAMPLE = """examples:
  sft compare runs/latest:r16 runs/latest:r8
  sft compare runs/latest:r16 baseline --out comparison      (a cell of the same run by its name)
  sft compare runs/monday runs/tuesday                       (every cell that both have, corrected for their number)
  sft compare ours.csv theirs.csv --label label --prediction answer --id id --group persona --positive hate
  sft compare runs/latest:r16 theirs.csv --label label --prediction answer --id id

Every difference is A minus B. Exit code 3: shards are missing, and only what both answered is compared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("a", metavar="A", help="RUN, RUN:CELL, a cell's folder, or a file or folder of predictions")
    add("b", metavar="B", help="the same; a cell of A's run also by its name alone")
    add_columns(parser, is_label_needed=False)
    add("--prediction-b", metavar="C", help="column with the predicted label in B, where it has another name")
    add_judgement(parser)
    add("--out", type=Path, metavar="DIR", help="folder for comparison.json, comparison.txt and comparison.html")
    add("--json", action="store_true", help="print comparison.json instead of the text")


def run(arguments: argparse.Namespace) -> int:
    from sftlib.report.compare.figures import comparison_figures
    from sftlib.report.compare.pairing import pair_up
    from sftlib.report.compare.sides import cells_of, find_target
    from sftlib.report.json_text import figures_text
    from sftlib.report.plaintext import report_text

    first = find_target(arguments.a)
    targets = (first, find_target(arguments.b, first))
    pairs, scheme = [], None
    for cells in cells_of(*targets):
        sides, scheme = _read(targets, cells, arguments)
        pairs.append((*sides, pair_up(*sides, scheme)))
    assert scheme is not None  # there is always a pair
    findings = [finding for a, b, _ in pairs for side in (a, b) for finding in side.findings]
    figures = comparison_figures(pairs, scheme, (arguments.a, arguments.b), findings)
    if arguments.out:
        _write(arguments.out, figures, vars(arguments))
    text = figures_text(figures) if arguments.json else report_text(figures)
    print(text)
    if not figures["complete"]:
        raise IncompleteError("\n".join(finding["sentence"] for finding in figures["coverage"]["findings"]))
    return 0


def _read(
    targets: tuple[Target, Target], cells: tuple[str, str], arguments: argparse.Namespace
) -> tuple[tuple[Side, Side], Scheme]:
    """Both sides, and how they are judged: as the first run among them is, else as the tables' labels say."""
    from sftlib.report.compare.sides import read_cell, read_table, request_for
    from sftlib.report.scheme import Scheme

    settings, names = report_settings(arguments), _names(targets, cells)
    scheme = next((Scheme.of(t.run.config.model_copy(update={"report": settings})) for t in targets if t.run), None)
    sides = []
    for place, (target, cell, name) in enumerate(zip(targets, cells, names, strict=True)):
        if target.run:
            sides.append(read_cell(target.run, cell, name))
            continue
        assert target.table is not None
        request = request_for(target.table, _request(arguments, scheme, place))
        side, own = read_table(target.table, request, name)
        scheme = scheme or own
        sides.append(side)
    assert scheme is not None
    return (sides[0], sides[1]), scheme


def _request(arguments: argparse.Namespace, scheme: Scheme | None, place: int) -> Request:
    request = column_request(arguments)
    if scheme and not scheme.has_labels:
        request = replace(request, is_open_ended=True)
    if place and arguments.prediction_b:
        request = replace(request, prediction=arguments.prediction_b)
    if scheme:  # both sides are read with the labels of the first
        request = replace(request, labels=scheme.labels, positive=scheme.positive)
    return request


def _names(targets: tuple[Target, Target], cells: tuple[str, str]) -> tuple[str, str]:
    """Short names that tell the two apart."""
    short = [
        cell if target.run else target.table.stem if target.table else target.word
        for target, cell in zip(targets, cells, strict=True)
    ]
    if short[0] != short[1]:
        return short[0], short[1]
    long = [
        f"{target.run.paths.root.name}:{cell}" if target.run else target.word
        for target, cell in zip(targets, cells, strict=True)
    ]
    return (long[0], long[1]) if long[0] != long[1] else (f"A {long[0]}", f"B {long[1]}")


def _write(folder: Path, figures: dict[str, Any], asked: dict[str, Any]) -> None:
    from sftlib.artifacts.atomic import write_text
    from sftlib.report.attachments import Attachments
    from sftlib.report.json_text import write_figures
    from sftlib.report.page.document import page_html
    from sftlib.report.plaintext import report_text

    shown = {name: str(value) if isinstance(value, Path) else value for name, value in asked.items()}
    write_text(folder / "comparison.txt", report_text(figures))
    write_text(folder / "comparison.html", page_html(figures, Attachments({"A": asked["a"], "B": asked["b"]}, shown)))
    write_figures(folder / "comparison.json", figures)
