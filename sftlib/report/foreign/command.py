"""`evaluate`: predictions of any origin into metrics, bias and the report; no model library is needed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sftlib.errors import InputError

if TYPE_CHECKING:
    from sftlib.config.predict import ReportSection
    from sftlib.report.foreign.request import Request

HELP = "metrics, bias and report for any predictions in CSV, Parquet or JSON lines"
EXAMPLE = """examples:
  sft evaluate answers.csv --label label --prediction answer --id id --group persona --positive hate --out report
  sft evaluate answers.parquet --label label --prediction answer --score p_hate --id id --group race gender --json
  sft evaluate answers.csv --label label --raw reply --alias spellings.yaml --id id --group persona

Several files, or a folder of them, are one set of predictions. --raw reads labels out of a model's own words with the
parser that prediction uses: final channel, JSON, exact spellings; never a part of a word. A record may be of several
groups: a list column, or --separator. Without --out nothing is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="CSV, TSV, Parquet or JSONL files, or folders of them")
    add_columns(parser, is_label_needed=True)
    add_judgement(parser)
    add("--threshold", type=float, metavar="T", help="also judge the scores cut here (positive: score >= T)")
    add("--validation", type=Path, metavar="FILE", help="fit the threshold on this table, which has the same columns")
    add(
        "--objective", choices=("f1", "youden"), default="f1", help="what the fitted threshold is best for (default f1)"
    )
    add(
        "--out", type=Path, metavar="DIR", help="folder for metrics.json, CSV files, text, page and predictions.parquet"
    )
    add("--json", action="store_true", help="print metrics.json instead of the text")


def add_columns(parser: argparse.ArgumentParser, *, is_label_needed: bool) -> None:
    """What the columns of a table of predictions hold."""
    add = parser.add_argument_group("columns of a table").add_argument
    add("--label", required=is_label_needed, metavar="C", help="column with the true label")
    add("--prediction", metavar="C", help="column with the predicted label")
    add("--id", metavar="C", help="column with an id that names one record; repeated ids are refused")
    add(
        "--group",
        metavar="C",
        nargs="+",
        action="extend",
        default=[],
        help="columns whose values are compared for bias",
    )
    add("--score", metavar="C", help="column with the probability of the positive label")
    add("--raw", metavar="C", help="column with the model's own words; labels are read out of it again")
    add("--reason", metavar="C", help="column that says why an answer is no label")
    add("--source", metavar="C", help="column with the origin of a record; rates are stratified by it")
    add("--original-label", metavar="C", help="column with the finer label; rates are stratified by it")
    add("--positive", metavar="V", help="the label that counts as positive")
    add("--labels", metavar="V", nargs="+", default=[], help="the labels; default: those of the label column")
    add("--alias", type=Path, metavar="FILE", help="JSON or YAML {label: [spellings]} that also count as the label")
    add("--json-key", metavar="KEY", default="classification", help="key of the label in a JSON answer (--raw)")
    add("--open-ended", action="store_true", help="answers are texts: exact match and ROUGE-L against those of --label")
    add("--separator", metavar="S", help="what stands between the groups of one record in a text column")


def add_judgement(parser: argparse.ArgumentParser) -> None:
    """How the figures are made; the keys of the section `report` of an experiment."""
    add = parser.add_argument_group("figures").add_argument
    add("--reference-group", metavar="G", help="group to which disparity ratios refer; default: the largest")
    add("--confidence", type=float, default=0.95, help="level of all intervals (default 0.95)")
    add("--bootstrap", type=int, default=10_000, help="replicates (default 10000)")
    add("--seed", type=int, default=0, help="of bootstrap and permutation (default 0)")
    add("--hybrid-weight", type=float, metavar="W", help="also give W × F1 + (1 - W) × (1 - equalized odds difference)")
    add("--columns", choices=("sftlib", "record"), default="sftlib", help="column names of the CSV files")


def run(arguments: argparse.Namespace) -> int:
    from sftlib.paths import ReportPaths
    from sftlib.report.allocation import keep_freed_memory
    from sftlib.report.foreign.figures import foreign_figures
    from sftlib.report.foreign.judging import judge
    from sftlib.report.json_text import figures_text
    from sftlib.report.merge import write_report
    from sftlib.report.plaintext import report_text

    keep_freed_memory()
    files, request = request_of(arguments)
    paths = ReportPaths(arguments.out) if arguments.out else None
    if paths and paths.root.exists() and not paths.root.is_dir():
        raise InputError(f"--out {paths.root} is a file: name a folder")
    judged = judge(files, request, paths.predictions if paths else None)
    metrics, attached = foreign_figures(judged, request)
    if paths:
        write_report(paths, metrics, request.report, attached)
    if arguments.json:
        print(figures_text(metrics))
    else:
        print(report_text(metrics))
        if paths:
            print(f"report  {paths.html}")
    return 0


def request_of(arguments: argparse.Namespace) -> tuple[list[Path], Request]:
    """The files and the request that the arguments name."""
    files, groups = _sorted_out(arguments.files, arguments.group)
    return files, replace(
        column_request(arguments), groups=tuple(groups), threshold=arguments.threshold, validation=arguments.validation,
        objective=arguments.objective,
    )  # fmt: skip


def column_request(arguments: argparse.Namespace) -> Request:
    """What `add_columns` and `add_judgement` asked for."""
    from sftlib.report.foreign.request import Request, read_aliases

    return Request(
        label=arguments.label, prediction=arguments.prediction, id=arguments.id,
        groups=tuple(dict.fromkeys(arguments.group)), score=arguments.score, raw=arguments.raw, reason=arguments.reason,
        source=arguments.source, original_label=arguments.original_label, positive=arguments.positive,
        labels=tuple(arguments.labels), aliases=read_aliases(arguments.alias) if arguments.alias else {},
        separator=arguments.separator, json_key=arguments.json_key, report=report_settings(arguments),
        is_open_ended=arguments.open_ended,
    )  # fmt: skip


def report_settings(arguments: argparse.Namespace) -> ReportSection:
    """The section `report` that the arguments name."""
    from pydantic import ValidationError

    from sftlib.config.predict import ReportSection

    try:
        return ReportSection(
            confidence=arguments.confidence, bootstrap=arguments.bootstrap, seed=arguments.seed,
            reference_group=arguments.reference_group, metrics_columns=arguments.columns,
            hybrid_weight=arguments.hybrid_weight,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--{first['loc'][0]} {first['input']}: {first['msg']}") from None


def _sorted_out(files: list[Path], groups: list[str]) -> tuple[list[Path], list[str]]:
    """`--group a b FILE`: the option takes all words that follow it, and a file is no column."""
    if files:
        return files, list(dict.fromkeys(groups))
    found = [Path(word) for word in groups if Path(word).exists()]
    if not found:
        raise InputError("name a file with predictions: sft evaluate FILE --label C --prediction C --id C")
    return found, list(dict.fromkeys(word for word in groups if not Path(word).exists()))
