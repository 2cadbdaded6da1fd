"""The page put together: metrics.json and the run's records come in, one self-contained HTML file goes out."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from sftlib.report.attachments import Attachments
from sftlib.report.page.answers import answers_section
from sftlib.report.page.audit import audit_section
from sftlib.report.page.calibration import calibration_section
from sftlib.report.page.cell_table import cells_section
from sftlib.report.page.confusion import confusion_section
from sftlib.report.page.curves import curves_section
from sftlib.report.page.gaps import gaps_section
from sftlib.report.page.group_charts import groups_section
from sftlib.report.page.head import alarm, facts, header, notes, verdict_block
from sftlib.report.page.numbers import Numbers
from sftlib.report.page.receipt import receipt_section
from sftlib.report.page.script import SCRIPT
from sftlib.report.page.strata import strata_section
from sftlib.report.page.style import STYLE
from sftlib.report.page.sweep import sweep_section
from sftlib.report.page.versus import versus_section


def page_html(metrics: dict[str, Any], attached: Attachments) -> str:
    """Nothing is fetched: the policy in the head forbids it, and a test looks."""
    numbers = Numbers(metrics)
    sections = [
        cells_section(numbers), sweep_section(numbers), groups_section(numbers), confusion_section(numbers), strata_section(numbers),
        gaps_section(numbers), versus_section(numbers), calibration_section(numbers), curves_section(numbers, attached.curves),
        audit_section(attached.audit), answers_section(numbers), receipt_section(numbers, attached),
    ]  # fmt: skip
    top = [header(numbers), alarm(numbers), verdict_block(numbers), facts(numbers), notes(numbers)]
    return _document(metrics["run"]["name"], "".join([*top, *sections]), _navigation(sections))


def _navigation(sections: list[str]) -> str:
    found = [match for part in sections for match in re.findall(r'<section id="(\w+)" data-title="([^"]*)">', part)]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in found)
    return f'<nav aria-label="Sections"><div>{links}</div><button type="button" id="theme" aria-label="light or dark">◐</button></nav>'


def _document(title: str, body: str, navigation: str) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{navigation}\n"
        f"<main>\n{body}\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
