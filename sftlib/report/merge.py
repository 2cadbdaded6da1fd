"""The last job: a run directory in, report/ out. A table of contents: check, combine, compute, write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sftlib.artifacts.atomic import write_text
from sftlib.config.predict import ReportSection
from sftlib.config.rundir import Run
from sftlib.convergence.picture import draw_logged
from sftlib.paths import ReportPaths
from sftlib.report.attachments import Attachments, attachments_of
from sftlib.report.audited import audit_text
from sftlib.report.combine import combine
from sftlib.report.coverage import check_coverage
from sftlib.report.figures import run_figures
from sftlib.report.json_text import write_figures
from sftlib.report.page.document import page_html
from sftlib.report.plaintext import report_text
from sftlib.report.scheme import Scheme
from sftlib.report.sheets import bias_csv, metrics_csv


def merge_run(run: Run, on_shard: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Write everything in report/ from what is there; returns what metrics.json holds. `on_shard`: after each one."""
    scheme = Scheme.of(run.config)
    coverage = check_coverage(run)
    combined = combine(run, coverage, scheme, run.paths.report.predictions, on_shard)
    metrics = run_figures(run, coverage, combined, scheme)
    attached = attachments_of(run)
    for cell in run.cells:
        draw_logged(run.paths.cell(cell.id))
    write_report(run.paths.report, metrics, run.config.report, attached)
    return metrics


def write_report(
    paths: ReportPaths, metrics: dict[str, Any], settings: ReportSection, attached: Attachments
) -> None:  # fmt: skip
    """Each file whole or not at all; metrics.json last, since its time says how old the report is."""
    columns = settings.metrics_columns
    write_text(paths.metrics_csv, metrics_csv(metrics, columns))
    write_text(paths.bias_csv, bias_csv(metrics, columns))
    write_text(paths.text, report_text(metrics) + audit_text(attached.audit))
    write_text(paths.html, page_html(metrics, attached))
    write_figures(paths.metrics_json, metrics)
