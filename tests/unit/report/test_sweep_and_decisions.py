"""What a sweep may claim about its parameters, what seeds alone do, and thresholds that were fitted on validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sftlib.report.merge import merge_run
from sftlib.report.sweep_figures import sweep_figures
from tests.unit.report.reading_pages import at, read_page
from tests.unit.report.synthetic import make_run, make_world


def cell(f1: float, **overrides: Any) -> dict[str, Any]:
    groups = {
        "g": {"a": {"fpr": f1 / 4, "fpr_low": 0.0, "fpr_high": 1.0}, "b": {"fpr": f1 / 2}, "(none)": {"fpr": 1.0}}
    }
    return {
        "is_baseline": False, "overrides": {key.replace("_", "."): value for key, value in overrides.items()},
        "overall": {"f1": f1}, "groups": groups, "disparities": {"g": {"ratios": {"a": {}, "b": {}}}},
    }  # fmt: skip


def test_cells_that_differ_by_a_seed_are_one_setting_with_its_spread() -> None:
    scores = {8: (0.60, 0.64, 0.62), 16: (0.70, 0.66, 0.68)}
    cells = {
        f"r{r}-{s}": {**cell(f1), "overrides": {"lora.r": r, "train.seed": s}}
        for r, f1s in scores.items()
        for s, f1 in enumerate(f1s)
    }
    found = sweep_figures(cells, "f1")
    assert found and found["parameters"] == {"lora.r": [8, 16], "train.seed": [0, 1, 2]}
    first, second = found["settings"]
    assert first["parameters"] == {"lora.r": 8} and first["f1"]["mean"] == pytest.approx(0.62)
    assert first["f1"]["sd"] == pytest.approx(0.02) == second["f1"]["sd"]
    assert found["seed_spread"]["f1"] == {"sd": pytest.approx(0.02), "df": 4, "settings": 2}


def test_the_worst_group_is_named_and_records_without_a_group_are_none() -> None:
    found = sweep_figures({"a": cell(0.5, lora_r=8), "b": cell(0.6, lora_r=16)}, "f1")
    assert found and found["cells"]["a"]["worst_fpr"] == 0.25
    assert found["cells"]["a"]["worst_group"] == {"column": "g", "group": "b"}
    assert found["seed_spread"]["f1"]["sd"] is None, "one seed says nothing about seeds"


def test_one_cell_is_no_sweep() -> None:
    assert sweep_figures({"a": cell(0.5), "baseline": {**cell(0.5), "is_baseline": True}}, "f1") is None


def test_the_best_of_many_equal_cells_is_not_sold_as_a_discovery(tmp_path: Path) -> None:
    cells = [f"r{rank}" for rank in range(2, 12)]
    metrics = merge_run(make_run(tmp_path, make_world(150, cells=cells), 1))
    (best,) = [entry for entry in metrics["verdicts"] if entry["kind"] == "best"]
    assert "Of 10 trained cells" in best["sentence"] and "corrected for 45 comparisons" in best["sentence"]
    assert (
        "choosing it for its score would be choosing by chance" in best["sentence"] or "and no more" in best["sentence"]
    )
    assert all(entry["tried"] == 45 for entry in metrics["comparisons"] if entry["kind"] == "cells")


def test_the_sweep_is_on_the_page_with_the_numbers_of_the_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(90, cells=("r4", "r8", "r16")), 1)
    metrics = merge_run(run)
    page = read_page(run.paths.report.html.read_text())
    shown = [marked for marked in page.marked if marked.key[0] == "sweep"]
    assert {(marked.key[2], marked.key[3]) for marked in shown} >= {
        (name, key) for name in ("r4", "r8", "r16") for key in ("f1", "worst_fpr")
    }
    assert all(at(metrics, marked.key) == marked.value for marked in shown)
    worst = metrics["sweep"]["cells"]["r8"]
    assert worst["worst_fpr"] == max(m["fpr"] for m in metrics["cells"]["r8"]["groups"]["group"].values())


@pytest.mark.parametrize("used", ["argmax", "f1"])
def test_a_threshold_fitted_on_validation_is_shown_beside_the_plain_decision(used: str, tmp_path: Path) -> None:
    run = make_run(
        tmp_path, make_world(120, cells=("r8",), predict={"threshold": used}, data={"validation": "test.jsonl"}), 2
    )
    run.paths.cell("r8").decision.write_text(
        json.dumps({"calibration": None, "threshold": {"value": 0.7, "objective": "f1", "records": 50}})
    )
    found = merge_run(run)["cells"]["r8"]
    half, fitted = found["decisions"]
    assert (half["threshold"], fitted["threshold"], fitted["objective"], fitted["fitted_on"]) == (0.5, 0.7, "f1", 50)
    assert (half["is_used"], fitted["is_used"]) == (used == "argmax", used != "argmax")
    for key in ("tp", "fp", "n", "unparsed_positive"):
        assert half["overall"][key] == found["overall"][key], "the answers of these cells are their likelier label"
    assert fitted["overall"]["tp"] + fitted["overall"]["fp"] < half["overall"]["tp"] + half["overall"]["fp"]
    assert sum(m["n"] for m in fitted["groups"]["group"].values()) == 120
    page = read_page(run.paths.report.html.read_text())
    assert ["cells", "r8", "decisions", "1", "overall", "f1"] in [marked.key for marked in page.marked]


@pytest.mark.parametrize("record", ["{", "[]", '{"threshold": null}', '{"threshold": true}'])
def test_a_decision_without_a_threshold_changes_nothing(record: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(30, cells=("r8",)), 1)
    run.paths.cell("r8").decision.write_text(record)
    assert merge_run(run)["cells"]["r8"]["decisions"] is None


def test_the_hybrid_score_is_an_option_and_never_the_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(90, cells=("r8",), report={"hybrid_weight": 0.7, "bootstrap": 100}), 1)
    found = merge_run(run)["cells"]["r8"]
    gap = found["disparities"]["group"]["equalized_odds_difference"]
    assert found["hybrid"]["score"] == pytest.approx(0.7 * found["overall"]["f1"] + 0.3 * (1 - gap))
    assert "hybrid_score" in run.paths.report.metrics_csv.read_text().splitlines()[0]
    assert not math.isnan(found["hybrid"]["bias_score"])
    assert "hybrid" not in merge_run(make_run(tmp_path / "b", make_world(30, cells=("r8",)), 1))["cells"]["r8"]


def test_evaluate_fits_a_threshold_on_another_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sftlib.__main__ import main

    columns = [
        "--label",
        "gold",
        "--prediction",
        "answer",
        "--id",
        "id",
        "--score",
        "p",
        "--bootstrap",
        "100",
        "--json",
    ]
    for name, cut in (("validation", 0.6), ("test", 0.6)):
        lines = ["id,gold,answer,p"]
        for place in range(100):
            p = place / 100
            lines.append(f"{place},{'yes' if p >= cut else 'no'},{'yes' if p >= 0.5 else 'no'},{p}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    test, validation = str(tmp_path / "test.csv"), str(tmp_path / "validation.csv")
    assert main(["evaluate", test, *columns, "--validation", validation]) == 0
    half, fitted = json.loads(capsys.readouterr().out)["cells"]["test"]["decisions"]
    assert (
        half["overall"]["fp"] == 10
        and fitted["overall"]["accuracy"] == 1.0
        and fitted["threshold"] == pytest.approx(0.6)
    )
    assert main(["evaluate", test, *columns[:6], "--threshold", "0.5"]) == 2
    assert "--score" in capsys.readouterr().err
