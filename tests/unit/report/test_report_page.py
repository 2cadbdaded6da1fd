"""report.html read as text: its numbers are those of metrics.json, names from data are only ever text, nothing is fetched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlib.config.rundir import Run
from sftlib.report.merge import merge_run
from sftlib.report.page.numbers import key_of
from sftlib.report.page.style import DARK, LIGHT
from tests.unit.report.reading_pages import PageReader, at, path_of, read_page, says
from tests.unit.report.synthetic import Record, World, make_run, make_world

NASTY = [
    '<script>alert("x")</script>',
    "a.b\\c",
    "\"quoted\" & 'so'",
    "ünïcode ☃ 漢字",
    "x" * 120,
    "</td></table>",
    "1e5",
    " ",
]


def nasty_world(count: int = 80) -> World:
    """Names that would break a page, a CSV file or a path if any of them were taken for markup."""
    world = make_world(count, name="A <b>bold</b> name".replace("<", "").replace(">", "").replace("/", ""))
    world.sections["description"] = "<img src=x onerror=alert(1)> & more"  # type: ignore[assignment]
    for index, record in enumerate(world.records):
        record.group = NASTY[index % len(NASTY)]
        record.source = NASTY[(index // 8) % 3]
        record.original = NASTY[3 + index % 2]
        record.id = f"{index}<i>&\"'"
    world.answers["r4"][5] = ("<script>alert(2)</script>", 0.5)
    return world


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("nasty"), nasty_world(), 2)
    merge_run(run)
    return run


@pytest.fixture(scope="module")
def page(nasty: Run) -> PageReader:
    return read_page(nasty.paths.report.html.read_text())


@given(st.lists(st.text(alphabet='ab.\\"<&é', max_size=6), min_size=1, max_size=5))
def test_a_key_can_be_read_back(path: list[str]) -> None:
    assert path_of(key_of(tuple(path))) == path


def test_every_number_on_the_page_is_that_of_the_file(nasty: Run, page: PageReader) -> None:
    metrics = json.loads(nasty.paths.report.metrics_json.read_text())
    assert len(page.marked) > 500
    for entry in page.marked:
        assert entry.value == at(metrics, entry.key), entry
        assert entry.tag == "circle" or says(entry.text, entry.value), entry


def test_nothing_important_of_the_file_is_missing_from_the_page(nasty: Run, page: PageReader) -> None:
    metrics = json.loads(nasty.paths.report.metrics_json.read_text())
    shown = {tuple(entry.key) for entry in page.marked}
    assert {("coverage", "records"), ("coverage", "unparsed_share"), ("run", "fingerprint")} <= shown
    for cell, figures in metrics["cells"].items():
        for key in (
            "n",
            "f1",
            "f1_low",
            "f1_high",
            "accuracy",
            "accuracy_low",
            "fpr",
            "fpr_high",
            "fnr",
            "fnr_low",
            "mcc",
        ):
            assert ("cells", cell, "overall", key) in shown
        assert (("cells", cell, "training", "seconds") in shown) == (figures["training"] is not None)
        for group in figures["groups"]["group"]:
            for key in ("n", "n_positive", "n_negative", "fpr", "fnr", "f1", "selection_rate", "parse_rate"):
                assert ("cells", cell, "groups", "group", group, key) in shown
        for source in figures["stratified"]["source"]:
            assert ("cells", cell, "stratified", "source", source, "fpr") in shown
        assert ("cells", cell, "scores", "auroc") in shown and ("cells", cell, "scores", "ece") in shown
    for place, entry in enumerate(metrics["comparisons"]):
        key = "f1" if entry["kind"] == "cells" else "accuracy"
        assert ("comparisons", str(place), "metrics", key, "difference") in shown


def test_names_are_never_markup(nasty: Run, page: PageReader) -> None:
    html = nasty.paths.report.html.read_text()
    assert (
        html.count("<script") == 1
        and "<img" not in html
        and "</td></table>" not in html.replace("</tr></tbody></table>", "")
    )
    for name in NASTY[:6]:
        assert name in page.text
    assert "<img src=x onerror=alert(1)> & more" in page.text


def test_nothing_is_fetched_from_anywhere(page: PageReader) -> None:
    assert all(address.startswith(("#", "data:")) for address in page.addresses) and page.addresses


def test_verdict_and_what_is_missing_come_first(tmp_path: Path) -> None:
    world = make_world(30)
    run = make_run(tmp_path, world, 3)
    run.paths.cell("r4").shard_manifest(1, 3).unlink()
    merge_run(run)
    text = read_page(run.paths.report.html.read_text()).text
    order = [
        "INCOMPLETE",
        "r4: shard 1 of 3 is missing",
        "Mend it with",
        "sft rerun",
        "On 20 records",
        "Test records",
        "Each cell answered",
    ]
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_the_text_report_shows_nothing_else_than_the_file(nasty: Run) -> None:
    metrics = json.loads(nasty.paths.report.metrics_json.read_text())
    text = nasty.paths.report.text.read_text()
    for cell in ("r4", "r8", "baseline"):
        m = metrics["cells"][cell]["overall"]
        line = next(line for line in text.splitlines() if re.match(rf"{cell}\s+80 ", line))
        assert [f"{m[key]:.3f}" for key in ("f1", "accuracy", "fpr", "fnr")] == re.findall(r"\d\.\d{3}", line)


@pytest.mark.parametrize("kind", ["classes", "texts", "one group", "one cell", "nothing"])
def test_other_tasks_have_a_page_too(tmp_path: Path, kind: str) -> None:
    world = make_world(24)
    if kind == "classes":
        world.labels, world.positive = ["hate", "normal", "spam"], None
    elif kind == "texts":
        world = World([Record(f"t{i}", f"answer {i}") for i in range(9)], {"r4": [("answer 1", None)] * 9, "baseline": [(None, None)] * 9},
                      sections={"task": {"type": "generation"}, "data": {"instruction_column": "text", "output_column": "gold", "input_column": None, "label_column": "gold"}})  # fmt: skip
    elif kind == "one cell":
        world.answers = {"r4": world.answers["r4"]}
    else:
        world.sections["data"] = {"group_columns": [], "source_column": None, "original_label_column": None}
    run = make_run(tmp_path, world, 2)
    if kind == "nothing":
        for cell in world.answers:
            for index in range(2):
                run.paths.cell(cell).shard_manifest(index, 2).unlink()
    metrics = merge_run(run)
    for entry in read_page(run.paths.report.html.read_text()).marked:
        assert entry.value == at(json.loads(json.dumps(metrics)), entry.key)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_the_background(palette: str) -> None:
    colours: dict[str, Any] = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", palette))
    for name in ("ink", "soft", "accent", "good", "bad", "warn"):
        assert contrast(colours[name], colours["bg"]) >= 4.5 and contrast(colours[name], colours["panel"]) >= 4.5, name
    assert contrast(colours["bad"], colours["bad-bg"]) >= 4.5 and contrast(colours["ink"], colours["warn-bg"]) >= 7
    for name in ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "cb"):
        assert contrast(colours[name], colours["bg"]) >= 3.5, name


def test_of_many_cells_the_best_are_shown_in_detail_and_it_says_so(tmp_path: Path) -> None:
    """Fifty cells with a hundred groups made a page of 48 MB that no browser liked."""
    world = make_world(200, cells=[*(f"r{rank}" for rank in range(2, 16)), "baseline"])
    for place, record in enumerate(world.records):
        record.group = f"g{place % 20:02d}"
    run = make_run(tmp_path, world, 1)
    metrics = merge_run(run)
    page = run.paths.report.html.read_text()
    shown = {
        marked.key[1] for marked in read_page(page).marked if marked.key[:1] == ["cells"] and "groups" in marked.key
    }
    assert "baseline" in shown and len(shown) == 8
    scores = {name: cell["overall"]["f1"] for name, cell in metrics["cells"].items() if name != "baseline"}
    assert max(scores, key=lambda name: scores[name]) in shown
    assert "the best of 15 cells and the baseline" in page
    listed = {tuple(marked.key[:2]) for marked in read_page(page).marked if marked.key[0] == "comparisons"}
    assert len(listed) == len(metrics["comparisons"]), "each comparison has its line"
    assert len(page) < 3_000_000


def test_a_loss_that_is_no_number_is_told_and_not_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(20), 1)
    losses = [*(2.0 - step / 20 for step in range(20)), *[None] * 20]
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses)]
    run.paths.cell("r4").metrics.write_text("\n".join(lines) + "\n")
    merge_run(run)
    page = run.paths.report.html.read_text()
    drawn = re.findall(r'<polyline class="path [^>]*points="([^"]*)"', page)
    assert drawn and not any("nan" in points for points in drawn)
    assert "diverged since step 20" in page
