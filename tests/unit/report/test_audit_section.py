"""The audit in the report: its section on the page, its part of report.txt."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sftlib.data.audit.audit import audit
from sftlib.data.audit.subject import data_subject
from sftlib.report.audited import SCHEMA_VERSION, audit_text
from sftlib.report.page.audit import audit_section
from tests import flawed


def record_of(folder: Path) -> dict:
    files = flawed.write_flawed(folder)
    others = {name: files[name] for name in ("validation", "test")}
    return json.loads(json.dumps(audit(data_subject(files["train"], others, {}))))


def test_findings_counts_and_plots_are_on_the_page(tmp_path: Path) -> None:
    record = record_of(tmp_path)
    page = audit_section(record)
    for finding in record["findings"]:
        assert finding["title"] in page and f">{finding['count']:,}<" in page
    assert page.count("<svg") == 3 + 3 + 1  # lengths and classes of each split, and what they share
    assert "8 equal, 1 nearly" in page
    rows = audit_text(record)
    assert (
        all(finding["title"][:20] in rows for finding in record["findings"]) and max(map(len, rows.splitlines())) <= 100
    )


def test_the_cut_is_drawn_and_what_lies_behind_it_has_the_colour_of_faults() -> None:
    lengths = {
        "unit": "tokens",
        "limit": 30,
        "bin": 10,
        "counts": [1, 5, 2, 0, 3],
        "median": 15,
        "p95": 44,
        "max": 48,
        "total": 9,
    }
    split = {"lengths": lengths, "groups": {}, "classes": {}}
    record = {
        "findings": [],
        "left_out": {"near-duplicates": "numpy is not installed here"},
        "splits": {"train": split},
        "overlaps": [],
    }
    page = audit_section(record)
    assert "cut at 30" in page and page.count("fill:var(--bad)") == 1 and page.count("fill:var(--c0)") == 3
    assert "numpy is not installed here" in page and "Nothing was found" in page


def test_text_out_of_data_is_escaped() -> None:
    nasty = "<script>alert(1)</script>"
    finding = {
        "kind": "duplicate",
        "level": "warning",
        "title": "t",
        "split": "train",
        "count": 1,
        "of": 2,
        "sentence": nasty,
        "accepted": False,
    }
    split = {"lengths": {}, "groups": {f"g={nasty}": {nasty: 3}}, "classes": {nasty: 3}}
    page = audit_section(
        {"findings": [finding], "left_out": {nasty: nasty}, "splits": {"train": split}, "overlaps": []}
    )
    assert "<script" not in page and len(re.findall("&lt;script&gt;", page)) >= 3


def test_a_run_without_audit_says_so() -> None:
    assert "were not audited" in audit_section({}) and "sft audit" in audit_text({})


def test_predictions_of_others_have_no_data_to_audit() -> None:
    assert audit_section(None) == audit_text(None) == ""


def test_both_sides_mean_the_same_version() -> None:
    from sftlib.data.audit import audit as module

    assert module.SCHEMA_VERSION == SCHEMA_VERSION


def test_a_class_has_one_colour_in_all_splits_and_every_class_is_named() -> None:
    names = ["sehr gut", "très mauvais", "mäßig / ok", "weder <noch>"]
    splits = {
        name: {"lengths": None, "classes": dict.fromkeys(order, 1), "groups": {"g=A": dict.fromkeys(order, 1)}}
        for name, order in (("train", names), ("test", names[::-1]))
    }
    page = audit_section({"findings": [], "left_out": {}, "splits": splits, "overlaps": []})
    for place, name in enumerate(names):
        written = name.replace("<", "&lt;").replace(">", "&gt;")
        assert page.count(f'<span class="cell c{place}"><i aria-hidden="true"></i>{written}</span>') == 2
        assert page.count(f'style="fill:var(--c{place})"><title>g=A, {written}: 1') == 2
