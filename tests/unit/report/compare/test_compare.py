"""`sft compare`: two sides joined on sample id, whatever they are; a verdict that claims no more than the records show."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sftlib.report.merge import merge_run
from tests.unit.report.browser import browser, chromium
from tests.unit.report.foreign.test_evaluate import COLUMNS, Row, write_csv
from tests.unit.report.reading_pages import at, read_page, says
from tests.unit.report.synthetic import (
    Record,
    World,
    make_run,
    make_world,
    plan_run,
    pretend_shard,
    pretend_training,
)

QUICK = ("--bootstrap", "500")


def sft(*arguments: str) -> int:
    from sftlib.__main__ import main

    return main(["compare", *arguments])


def compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert sft(*arguments, "--json", *QUICK) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert sft(*arguments) == 2
    return capsys.readouterr().err


def check_numbers(html: str, figures: dict[str, Any]) -> None:
    """Every number of the page is the file's."""
    page = read_page(html)
    assert len(page.marked) > 100
    for marked in page.marked:
        assert at(figures, marked.key) == marked.value
        assert marked.tag in ("circle", "polyline") or says(marked.text, marked.value), marked.key


def write_table(folder: Path, both: int, only_a: int, only_b: int, neither: int) -> tuple[str, str]:
    """Two tables whose answers are both right, right in one, or wrong, so many times each; b's rows in another order."""
    kinds = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
    rows: tuple[list[Row], list[Row]] = ([], [])
    for place, kind in enumerate(kinds):
        gold, wrong = ("hate", "normal") if place % 2 else ("normal", "hate")
        for side, is_right in zip(rows, kind, strict=True):
            about = {"id": f"r{place}", "gold": gold, "group": "ab"[place % 3 == 0]}
            side.append(
                {
                    **about,
                    "answer": gold if is_right else wrong,
                    "raw": f'analysis slur slur assistantfinal{{"classification": "{gold if is_right else wrong}"}}',
                }
            )
    return write_csv(folder / "a.csv", rows[0]), write_csv(folder / "b.csv", rows[1][::-1])


def test_the_comparison_of_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = compare(capsys, *write_table(tmp_path, 625, 29, 47, 307), *COLUMNS)
    (entry,) = figures["comparisons"]
    assert (entry["a"], entry["b"], entry["n"]) == ("a", "b", 1008)
    assert entry["mcnemar"]["exact_p"] == pytest.approx(0.0505, abs=5e-5)
    assert (entry["flips"]["a_right_b_wrong"], entry["flips"]["b_right_a_wrong"]) == (29, 47)
    accuracy = entry["metrics"]["accuracy"]
    assert accuracy["difference"] == pytest.approx((654 - 672) / 1008) and accuracy["a"] == pytest.approx(654 / 1008)
    groups = entry["flips_by_group"]["group"]
    for key in ("n", "both_right", "a_right_b_wrong", "b_right_a_wrong", "both_wrong"):
        assert sum(group[key] for group in groups.values()) == (entry["n"] if key == "n" else entry["flips"][key])
    assert "within noise" in entry["verdict"] and "records would be needed to see it" in entry["verdict"]


def test_a_clear_difference_is_called_one_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_table(tmp_path, 300, 200, 50, 100)
    (entry,) = compare(capsys, a, b, *COLUMNS)["comparisons"]
    assert "a is better than b" in entry["verdict"] and entry["metrics"]["f1"]["difference"] > 0
    (turned,) = compare(capsys, b, a, *COLUMNS)["comparisons"]
    assert "b is worse than a" in turned["verdict"]
    assert turned["metrics"]["f1"]["difference"] == pytest.approx(-entry["metrics"]["f1"]["difference"])


def test_examples_name_records_and_their_words_are_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_table(tmp_path, 60, 9, 12, 5)
    out = tmp_path / "out"
    assert (
        sft(
            a,
            b,
            "--label",
            "gold",
            "--raw",
            "raw",
            "--prediction",
            "answer",
            "--id",
            "id",
            "--group",
            "group",
            *QUICK,
            "--out",
            str(out),
        )
        == 0
    )
    told, page = capsys.readouterr().out, (out / "comparison.html").read_text()
    assert "EXAMPLES" in told and "slur" not in told
    assert page.count("slur slur") == page.count('class="masked"') == 20
    figures = json.loads((out / "comparison.json").read_text())
    examples = figures["comparisons"][0]["examples"]
    assert len(examples["a_right_b_wrong"]) >= 5 and len(examples["b_right_a_wrong"]) >= 5
    for way, right, wrong in (("a_right_b_wrong", "a", "b"), ("b_right_a_wrong", "b", "a")):
        assert all(one[right] == one["gold"] != one[wrong] for one in examples[way])


def test_only_records_that_both_have_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_table(tmp_path, 50, 5, 5, 5)
    Path(a).write_text("".join(Path(a).read_text().splitlines(keepends=True)[:-10]))
    figures = compare(capsys, a, b, *COLUMNS)
    assert figures["comparisons"][0]["n"] == 55 == figures["cells"]["a"]["overall"]["n"]
    assert "10 records that only b answered" in figures["coverage"]["findings"][0]["sentence"]


def test_sides_that_do_not_mean_the_same_records_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_table(tmp_path, 20, 2, 2, 2)
    lines = Path(b).read_text().splitlines()
    lines[1] = lines[1].replace("hate,", "X,", 1).replace("normal,", "hate,", 1).replace("X,", "normal,", 1)
    Path(b).write_text("\n".join(lines) + "\n")
    assert "do not agree on the true label of 1 of 26 records" in refused(capsys, a, b, *COLUMNS)
    Path(b).write_text(Path(b).read_text().replace("\nr", "\nother"))
    Path(b).write_text(Path(b).read_text().replace("r0,", "zero,"))
    assert "no sample id in common" in refused(capsys, a, b, *COLUMNS)
    assert "name its column with --id" in refused(capsys, a, a, "--label", "gold", "--prediction", "answer")
    assert "name its columns" in refused(capsys, a, a)


def test_two_cells_of_a_run_get_what_the_report_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", make_world(200))
    metrics = merge_run(run)
    theirs = next(entry for entry in metrics["comparisons"] if entry["kind"] == "cells")
    folder = str(run.paths.root)
    (ours,) = compare(capsys, f"{folder}:{theirs['a']}", theirs["b"], "--bootstrap", "100")["comparisons"]
    for key in ("mcnemar", "flips", "n"):
        assert ours[key] == theirs[key]
    assert ours["metrics"]["f1"]["difference"] == pytest.approx(theirs["metrics"]["f1"]["difference"])
    by_folder = compare(capsys, str(run.paths.cell("r8").root), "baseline")["comparisons"][0]
    flips = next(entry for entry in metrics["comparisons"] if entry["kind"] == "baseline" and entry["a"] == "r8")
    assert by_folder["flips_by_group"]["group"]["north"].items() >= flips["flips_by_group"]["group"]["north"].items()
    merged = str(run.paths.cell("r8").predictions)
    for manifest in run.paths.cell("r8").predictions.glob("*.json"):
        manifest.rename(manifest.with_suffix(".kept"))
    table = compare(capsys, merged, f"{folder}:r4")["comparisons"][0]
    assert table["flips"] == ours["flips"] or table["flips"]["both_right"] == ours["flips"]["both_right"]


def test_two_runs_are_compared_cell_by_cell_and_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(tmp_path / "a", make_world(90)), make_run(tmp_path / "b", make_world(90), 2)
    figures = compare(capsys, str(first.paths.root), str(second.paths.root))
    assert len(figures["comparisons"]) == 3 and all(entry["tried"] == 3 for entry in figures["comparisons"])
    assert all(entry["metrics"]["f1"]["difference"] == 0 for entry in figures["comparisons"])
    assert "have the same F1" in figures["verdicts"][0]["sentence"]


def test_missing_shards_are_told_and_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(90)
    run = plan_run(tmp_path, world, 3)
    pretend_training(run, "r4")
    for cell in ("r4", "baseline"):
        for index in range(3 if cell == "baseline" else 2):
            pretend_shard(run, world, cell, index)
    code = sft(f"{run.paths.root}:r4", "baseline", "--json", *QUICK)
    told = capsys.readouterr()
    assert code == 3 and json.loads(told.out)["complete"] is False and "shard 2 of 3" in told.err
    assert json.loads(told.out)["comparisons"][0]["n"] == 60


def test_words_that_name_nothing_list_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, make_world(30))
    folder = str(run.paths.root)
    assert "did you mean 'baseline'" in refused(capsys, f"{folder}:r4", "basline")
    assert "has no cell 'r5'" in refused(capsys, f"{folder}:r5", "baseline")
    assert "compared with itself" in refused(capsys, folder, folder)


def test_the_page_shows_the_numbers_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_table(tmp_path, 60, 9, 12, 5)
    assert sft(a, b, *COLUMNS, *QUICK, "--out", str(tmp_path / "out")) == 0
    figures = json.loads((tmp_path / "out" / "comparison.json").read_text())
    check_numbers((tmp_path / "out" / "comparison.html").read_text(), figures)


@pytest.mark.slow
@pytest.mark.skipif(not chromium(), reason="needs Chromium: .ci/system-packages")
def test_the_page_opens_without_complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sft(*write_table(tmp_path, 60, 9, 12, 5), *COLUMNS, *QUICK, "--out", str(tmp_path / "out")) == 0
    # A profile deep in the tree would make the path of Chromium's socket too long.
    with (
        tempfile.TemporaryDirectory(prefix="sftlib-chromium-", ignore_cleanup_errors=True) as profile,
        browser(Path(profile)) as window,
    ):
        for width in (1280, 390):
            window.open(tmp_path / "out" / "comparison.html", width, "light")
            assert window.complaints() == [] and len(window.requests()) == 1
            assert window.evaluate("document.documentElement.scrollWidth") <= width


def text_world(count: int = 40) -> World:
    """Two cells whose answers match the reference, resemble it, or miss it; r8 is better on most."""
    records = [Record(f"t{i}", f"the answer is {i} and no other", ("north", "south")[i % 2]) for i in range(count)]
    right = [(record.gold, None) for record in records]
    near = [(f"the answer is {i + 1} and no other", None) for i in range(count)]
    answers = {
        "r4": [(None, None) if i % 10 == 9 else right[i] if i % 4 == 0 else near[i] for i in range(count)],
        "r8": [near[i] if i % 8 == 0 else right[i] for i in range(count)],
        "baseline": [("slur slur", None)] * count,
    }
    return World(records, answers, sections={
        "task": {"type": "generation"},
        "data": {"label_column": "text", "instruction_column": "text", "output_column": "gold", "input_column": None},
    })  # fmt: skip


def test_open_ended_answers_are_compared_by_match_and_rouge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = text_world()
    run, out = make_run(tmp_path, world, 3), tmp_path / "out"
    figures = compare(capsys, f"{run.paths.root}:r8", "r4", "--out", str(out))
    (entry,) = figures["comparisons"]
    match, rouge = entry["metrics"]["exact_match"], entry["metrics"]["rouge_l"]
    assert (match["a"], match["b"]) == (35 / 40, 10 / 40)
    assert (entry["flips"]["a_right_b_wrong"], entry["flips"]["b_right_a_wrong"]) == (30, 5)
    assert (rouge["a_higher"], rouge["b_higher"], rouge["tied"]) == (30, 5, 5)
    assert rouge["difference"] == pytest.approx(
        figures["cells"]["r8"]["overall"]["rouge_l"] - figures["cells"]["r4"]["overall"]["rouge_l"]
    )
    assert rouge["low"] < rouge["difference"] < rouge["high"] and rouge["p"] < 0.01
    assert "exact match" in entry["verdict"] and "ROUGE-L" in entry["verdict"] and "r8 is better" in entry["verdict"]
    assert sum(group["n"] for group in entry["flips_by_group"]["group"].values()) == 40
    assert entry["flips_by_group"]["group"]["north"]["metrics"]["rouge_l"]["difference"] is not None
    assert figures["coverage"]["unparsed"] == 4 and figures["verdicts"][0]["tone"] == "good"
    for way, better, worse in (("a_right_b_wrong", "a", "b"), ("b_right_a_wrong", "b", "a")):
        assert all(one[better] == one["gold"] != one[worse] for one in entry["examples"][way])
    page = (out / "comparison.html").read_text()
    check_numbers(page, figures)
    texts = [one[side] for way in entry["examples"].values() for one in way for side in ("gold", "a", "b")]
    assert len(texts) == 30 and texts.count(None) == 4, "the answers that are missing are the clearest of all"
    assert "ROUGE-L is higher for r8" in page and page.count('class="masked"') == 26


def test_texts_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, text_world(), 2)
    assert sft(f"{run.paths.root}:r4", "baseline", *QUICK) == 0
    told = capsys.readouterr().out
    assert "slur" not in told and "ROUGE-L" in told and "EXAMPLES" in told


def test_a_small_difference_of_texts_says_how_many_records_it_would_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = text_world()
    world.answers["r8"] = [*world.answers["r4"][:-1], (world.records[-1].gold, None)]
    run = make_run(tmp_path, world, 2)
    (entry,) = compare(capsys, f"{run.paths.root}:r8", "r4")["comparisons"]
    assert entry["verdict"].count("within noise") == 2 and entry["verdict"].count("records would be needed") == 2


def test_references_that_differ_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = text_world()
    first = make_run(tmp_path / "first", world, 2)
    world.records[7].gold = "something else"
    second = make_run(tmp_path / "second", world, 2)
    said = refused(capsys, f"{first.paths.root}:r4", f"{second.paths.root}:r4")
    assert "do not agree on the true label of 1 of 40 records" in said and "something else" in said
