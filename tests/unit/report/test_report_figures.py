"""metrics.json and the CSV files: the figures of the record, and every case in which a figure could be quietly wrong."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftlib.artifacts.shards import shard_range
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.metrics.counts import NEGATIVE, POSITIVE, UNPARSED, tally
from sftlib.metrics.ranking import auroc, bias_aucs, tables_by_group
from sftlib.metrics.scores import tied_table
from sftlib.report import scored
from sftlib.report.figures import answer_notes
from sftlib.report.json_text import write_figures
from sftlib.report.merge import merge_run
from tests.unit.report.synthetic import (
    LABELS,
    Record,
    World,
    make_run,
    make_world,
    plan_run,
    pretend_shard,
    pretend_training,
    shard_table,
    sums,
)  # fmt: skip

GOLDEN = {"lgbtq": (103, 67, 139, 184), "mexican": (74, 49, 7, 79), "middle_east": (105, 57, 34, 110)}  # TP FN FP TN
OUTCOMES = (("hate", "hate"), ("hate", "normal"), ("normal", "hate"), ("normal", "normal"))


def golden_world() -> World:
    records, answers = [], []
    for group, counts in GOLDEN.items():
        for (gold, said), count in zip(OUTCOMES, counts, strict=True):
            for _ in range(count):
                records.append(Record(f"g{len(records)}", gold, group))
                answers.append((said, None))
    return World(records, {"r4": answers, "baseline": [("hate", None)] * len(records)})


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("golden"), golden_world(), 4)
    merge_run(run)
    return run


def read(run: Run) -> dict[str, Any]:
    return json.loads(run.paths.report.metrics_json.read_text())


def merged(folder: Path, world: World, shards: int = 2) -> dict[str, Any]:
    return merge_run(make_run(folder, world, shards))


def test_the_record_comes_out_to_the_last_digit(golden: Run) -> None:
    cell = read(golden)["cells"]["r4"]
    groups, gaps = cell["groups"]["group"], cell["disparities"]["group"]
    assert {name: round(m["fpr"], 6) for name, m in groups.items()} == {
        "lgbtq": 0.430341, "mexican": 0.081395, "middle_east": 0.236111,
    }  # fmt: skip
    assert round(groups["mexican"]["fpr_low"], 6) == 0.039986 and round(groups["mexican"]["fpr_high"], 6) == 0.158602
    assert round(cell["overall"]["accuracy"], 6) == 0.649802 and round(cell["overall"]["macro_f1"], 6) == 0.646924
    assert round(gaps["demographic_parity_difference"], 6) == 0.103312 and round(gaps["fped"], 6) == 0.438331
    assert round(gaps["omnibus"]["fpr"]["statistic"], 4) == 44.7526 and gaps["reference"] == "lgbtq"
    first = gaps["pairwise"][0]
    assert (first["a"], first["b"], first["metric"]) == ("lgbtq", "mexican", "fpr")
    assert (round(first["low"], 6), round(first["high"], 6)) == (0.255374, 0.417394)
    assert f"{first['p_holm']:.3e}" == "1.168e-08"


def test_always_answering_hate_is_named_beside_the_cells(golden: Run) -> None:
    metrics = read(golden)
    always = metrics["cells"]["r4"]["baselines"]["always_positive"]
    assert always["f1"] == pytest.approx(2 * 455 / (1008 + 455)) == metrics["cells"]["baseline"]["overall"]["f1"]
    assert any(
        "r4 (0.615) and baseline (0.622) do not beat a constant answer" in entry["sentence"]
        for entry in metrics["verdicts"]
    )


def test_the_form_is_the_documented_one(golden: Run) -> None:
    metrics = read(golden)
    assert metrics["schema_version"] == 1 and metrics["complete"] is True
    assert {"name", "fingerprint", "created", "positive", "labels", "method"} <= set(metrics["run"])
    assert list(metrics["cells"]) == ["r4", "baseline"]
    needed = (
        "n n_positive n_negative tp fn fp tn unparsed_positive unparsed_negative accuracy precision recall f1 macro_f1 "
        "mcc fpr fpr_low fpr_high fnr fnr_low fnr_high selection_rate parse_rate f1_low f1_high accuracy_low accuracy_high"
    )
    for cell in metrics["cells"].values():
        assert {"overall", "groups", "disparities", "stratified", "scores", "baselines", "training"} <= set(cell)
        for m in [cell["overall"], *cell["groups"]["group"].values(), *cell["stratified"]["source"].values()]:
            assert set(needed.split()) <= set(m) and sums(m) == m["n"]
    (entry,) = metrics["comparisons"]
    assert (entry["a"], entry["b"]) == ("r4", "baseline") and {"mcnemar", "metrics", "verdict", "flips"} <= set(entry)
    assert not any(math.isnan(value) for value in numbers(metrics))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [number for item in (value.values() if isinstance(value, dict) else value) for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_a_standardised_difference_is_that_of_the_two_groups_it_names(tmp_path: Path) -> None:
    """Not the largest of all: of many groups that is the one between the two with the fewest records."""
    world = make_world(400)
    for index, record in enumerate(world.records):
        record.group = ("north", "south", "west")[index % 3]
        wrong = record.group == "north" and record.gold == "normal"
        world.answers["r8"][index] = (("hate" if wrong else record.gold), None)
    metrics = merged(tmp_path, world)
    cell = metrics["cells"]["r8"]
    (said,) = [
        one["sentence"] for one in metrics["verdicts"] if one["cell"] == "r8" and "the same mix" in one["sentence"]
    ]
    even = cell["disparities"]["group"]["standardised"]["fpr"]["groups"]
    assert "FPR differs between groups of group: 1.000 for north, 0.000 for south" in said
    assert (
        f"the difference is {even['north']['standardised'] - even['south']['standardised']:.3f} instead of 1.000"
        in said
    )


def test_a_difference_is_a_minus_b(golden: Run) -> None:
    (entry,) = read(golden)["comparisons"]
    change = entry["metrics"]["accuracy"]
    assert change["a"] == pytest.approx(655 / 1008, abs=1e-9) and change["b"] == pytest.approx(455 / 1008)
    assert (
        change["difference"] == pytest.approx(change["a"] - change["b"])
        and change["low"] < change["difference"] < change["high"]
    )
    assert entry["flips"]["a_right_b_wrong"] == 373 and entry["flips"]["b_right_a_wrong"] == 173
    assert entry["mcnemar"]["a_right_b_wrong"] == 373 and entry["n"] == 1008
    by_group = entry["flips_by_group"]["group"]
    assert sum(group["a_right_b_wrong"] for group in by_group.values()) == 373
    ids = [example["sample_id"] for example in entry["examples"]["b_right_a_wrong"]]
    assert ids[:2] == ["g103", "g104"] and len(ids) == 5


def test_metrics_equal_those_of_the_rows(tmp_path: Path) -> None:
    world = make_world(97, seed=3)
    metrics = merged(tmp_path, world, 5)
    code = {"hate": POSITIVE, "normal": NEGATIVE, None: UNPARSED}
    for cell, answers in world.answers.items():
        rows = list(zip(world.records, answers, strict=True))
        for key, name, chosen in [
            ("group", "north", [row for row in rows if row[0].group == "north"]),
            (None, None, rows),
        ]:
            counts = tally([code[r.gold] for r, _ in chosen], [code[a[0]] for _, a in chosen])
            figures = metrics["cells"][cell]
            m = figures["groups"][key][name] if key else figures["overall"]
            assert (m["tp"], m["fn"], m["fp"], m["tn"]) == (counts.tp, counts.fn, counts.fp, counts.tn)
            assert (m["unparsed_positive"], m["unparsed_negative"]) == (counts.up, counts.un)
        within = metrics["cells"][cell]["stratified"]["group_by_source"]["group"]
        wanted = [row for row in rows if row[0].group == "south" and row[0].source == "forum"]
        assert within["forum"]["south"]["n"] == len(wanted)


def test_unparsed_answers_never_disappear(tmp_path: Path) -> None:
    world = make_world(40)
    world.answers["r4"] = [(None, None)] * 40
    metrics = merged(tmp_path, world)
    cell = metrics["cells"]["r4"]
    assert cell["overall"]["n"] == sums(cell["overall"]) == 40 and cell["overall"]["parse_rate"] == 0
    assert cell["overall"]["accuracy"] == 0 and cell["overall"]["fpr"] is None and cell["overall"]["fpr_low"] is None
    assert sum(sums(m) for m in cell["groups"]["group"].values()) == 40
    assert cell["unparsed"]["reasons"] == {"no_json": 40} and cell["scores"] is None
    assert metrics["coverage"]["unparsed"] >= 40 and metrics["complete"]
    assert [sum(row) for row in cell["confusion"]["counts"]] == [
        cell["overall"]["n_positive"],
        cell["overall"]["n_negative"],
    ]


def test_an_answer_that_is_no_label_counts_as_unparsed_and_is_named(tmp_path: Path) -> None:
    world = make_world(20)
    world.answers["r4"][3] = ("Hate!", 0.9)
    metrics = merged(tmp_path, world)
    cell = metrics["cells"]["r4"]
    assert cell["unparsed"]["unknown_labels"] == {"Hate!": 1} and sums(cell["overall"]) == 20
    assert (
        any("that are no label of the task" in f["sentence"] for f in metrics["coverage"]["findings"])
        and metrics["complete"]
    )


@pytest.mark.parametrize("only", LABELS)
def test_one_class_only(tmp_path: Path, only: str) -> None:
    world = make_world(30)
    for record in world.records:
        record.gold = only
    metrics = merged(tmp_path, world)
    m, scores = metrics["cells"]["r4"]["overall"], metrics["cells"]["r4"]["scores"]
    rate, other = ("fnr", "fpr") if only == "hate" else ("fpr", "fnr")
    assert m[other] is None and m[f"{other}_low"] is None and m[rate] is not None and scores["auroc"] is None
    assert metrics["complete"]


def test_a_group_of_one_and_records_without_a_group(tmp_path: Path) -> None:
    world = make_world(30)
    world.records[0].group = "alone"
    world.records[1].group = None
    cell = merged(tmp_path, world)["cells"]["r4"]
    groups = cell["groups"]["group"]
    assert list(groups) == ["alone", "north", "south", "west", "(none)"]
    assert groups["alone"]["n"] == groups["(none)"]["n"] == 1 and sum(m["n"] for m in groups.values()) == 30
    assert "alone" in cell["disparities"]["group"]["small_groups"]
    assert "(none)" not in cell["disparities"]["group"]["ratios"]
    assert (groups["alone"]["fpr"] is None) != (groups["alone"]["fnr"] is None) or groups["alone"]["parse_rate"] == 0


def test_a_record_in_several_groups_counts_in_each_and_once_overall(tmp_path: Path) -> None:
    world = make_world(30)
    for record in world.records:
        record.group = [record.group]
    world.records[0].group = ["north", "south", "north"]
    world.records[1].group = []
    run = make_run(tmp_path, world, 3)
    cell = merge_run(run)["cells"]["r4"]
    groups = cell["groups"]["group"]
    table = pq.read_table(run.paths.report.predictions)
    assert table["group.group"].type == pa.list_(pa.string()) and table["group.group"][0].as_py() == [
        "north",
        "south",
        "north",
    ]
    assert cell["overall"]["n"] == 30 and sum(m["n"] for m in groups.values()) == 31 and groups["(none)"]["n"] == 1
    assert cell["scores"]["bias_aucs"]["group"]["groups"].keys() == {"north", "south", "west"}


def test_a_group_column_that_shards_lack_is_no_crash(tmp_path: Path) -> None:
    world = make_world(20)
    run = plan_run(tmp_path, world, 2)
    for cell in run.cells:
        if not cell.is_baseline:
            pretend_training(run, cell.id)
        for index in range(2):
            table = shard_table(world, cell.id, shard_range(20, index, 2)).drop_columns("group.group")
            pretend_shard(run, world, cell.id, index, table=table)
    metrics = merge_run(run)
    assert (
        metrics["cells"]["r4"]["groups"]["group"].keys() == {"(none)"} and metrics["cells"]["r4"]["overall"]["n"] == 20
    )


def test_a_gold_label_that_we_do_not_know_is_counted_and_in_no_rate(tmp_path: Path) -> None:
    world = make_world(20)
    run = plan_run(tmp_path, world, 1)
    golds = pa.array([None, "other", *(record.gold for record in world.records[2:])])
    for cell in run.cells:
        if not cell.is_baseline:
            pretend_training(run, cell.id)
        table = shard_table(world, cell.id, range(20))
        pretend_shard(run, world, cell.id, 0, table=table.set_column(2, "gold", golds))
    metrics = merge_run(run)
    assert metrics["cells"]["r4"]["overall"]["n"] == 18 and metrics["cells"]["r4"]["unlabelled"] == 2
    assert any("without a known gold label" in f["sentence"] for f in metrics["coverage"]["findings"])
    assert {entry["n"] for entry in metrics["comparisons"]} == {18}


def test_scores_are_exact_below_the_limit_and_binned_beyond_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(200, seed=1)
    exact = merged(tmp_path / "exact", world, 3)["cells"]["r8"]["scores"]
    chosen = [(r, s) for r, (_, s) in zip(world.records, world.answers["r8"], strict=True) if s is not None]
    labels = np.array([POSITIVE if r.gold == "hate" else NEGATIVE for r, _ in chosen])
    scores = np.array([s for _, s in chosen])
    masks = {g: np.array([r.group == g for r, _ in chosen]) for g in ("north", "south", "west")}
    assert exact["auroc"] == auroc(tied_table(labels, scores)[1]) and exact["n"] == len(chosen) and exact["exact"]
    assert exact["unscored"] == 200 - len(chosen)
    by_hand = bias_aucs(*tables_by_group(labels, scores, masks))
    assert exact["bias_aucs"]["group"] == {**by_hand, "groups": exact["bias_aucs"]["group"]["groups"]}
    assert exact["bias_aucs"]["group"]["groups"] == by_hand["groups"]
    monkeypatch.setattr(scored, "EXACT_ROWS", 10)
    binned = merged(tmp_path / "binned", world, 3)["cells"]["r8"]["scores"]
    assert not binned["exact"] and binned["n"] == exact["n"]
    for name in ("auroc", "average_precision", "brier", "ece", "log_loss"):
        assert binned[name] == pytest.approx(exact[name], abs=2e-3)
    for group, aucs in exact["bias_aucs"]["group"]["groups"].items():
        assert binned["bias_aucs"]["group"]["groups"][group] == pytest.approx(aucs, abs=5e-3)


def test_scores_that_are_no_probabilities_are_left_out_and_named(tmp_path: Path) -> None:
    world = make_world(20)
    world.answers["r4"][0] = ("hate", 7.5)
    metrics = merged(tmp_path, world)
    assert metrics["cells"]["r4"]["scores"]["out_of_range"] == 1
    assert any("that are no probabilities" in f["sentence"] for f in metrics["coverage"]["findings"])


def test_several_classes(tmp_path: Path) -> None:
    world = make_world(40)
    world.labels, world.positive = ["hate", "normal", "spam"], None
    for record in world.records[::5]:
        record.gold = "spam"
    metrics = merged(tmp_path, world)
    cell = metrics["cells"]["r8"]
    assert set(cell["overall"]["classes"]) == {"hate", "normal", "spam"} and cell["overall"]["macro_f1"] > 0
    assert cell["overall"]["macro_f1_low"] <= cell["overall"]["macro_f1"] <= cell["overall"]["macro_f1_high"]
    assert sum(map(sum, cell["confusion"]["counts"])) == 40 and "fpr" not in cell["overall"]
    assert {"accuracy", "macro_f1"} == set(metrics["comparisons"][0]["metrics"]) and cell["disparities"] == {}


def test_several_classes_with_a_positive_one(tmp_path: Path) -> None:
    world = make_world(40)
    world.labels = ["spam", "normal", "hate"]
    cell = merged(tmp_path, world)["cells"]["r8"]
    assert (
        cell["overall"]["fpr"] is not None
        and cell["disparities"]["group"]["pairwise"]
        and cell["scores"]["auroc"] > 0.5
    )


def test_open_ended_answers(tmp_path: Path) -> None:
    records = [Record(f"t{i}", f"the answer is {i}", ("north", "south")[i % 2]) for i in range(12)]
    good = [(f"the answer is {i}" if i % 3 else "no idea", None) for i in range(12)]
    world = World(records, {"r4": good, "baseline": [(None, None)] * 12}, sections={
        "task": {"type": "generation"}, "data": {"label_column": "text", "instruction_column": "text", "output_column": "gold", "input_column": None},
    })  # fmt: skip
    metrics = merged(tmp_path, world)
    cell, untouched = metrics["cells"]["r4"], metrics["cells"]["baseline"]
    assert cell["overall"]["exact_match"] == pytest.approx(8 / 12) and untouched["overall"]["exact_match"] == 0
    assert untouched["overall"]["unparsed"] == 12 and untouched["overall"]["n"] == 12
    assert cell["overall"]["exact_match_low"] < 8 / 12 < cell["overall"]["exact_match_high"]
    assert cell["groups"]["group"]["north"]["n"] == 6 and 0 < cell["overall"]["rouge_l"] < 1
    (entry,) = metrics["comparisons"]
    assert (
        entry["metrics"]["exact_match"]["difference"] == pytest.approx(8 / 12)
        and entry["flips"]["a_right_b_wrong"] == 8
    )
    assert "exact match" in entry["verdict"]


def sheet(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_csv_files_hold_the_same_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(50), 2)
    metrics = merge_run(run)
    bias = sheet(run.paths.report.bias_csv)
    assert len(bias) == 9
    for row in bias:
        m = metrics["cells"][row["cell"]]["groups"][row["column"]][row["group"]]
        for key, value in m.items():
            assert row[key] == ("" if value is None else repr(value) if isinstance(value, float) else str(value))
        assert row["is_small"] == "true"
    overall = [row for row in sheet(run.paths.report.metrics_csv) if row["scope"] == "overall"]
    assert [row["cell"] for row in overall] == ["r4", "r8", "baseline"]
    for row in overall:
        assert float(row["f1"]) == metrics["cells"][row["cell"]]["overall"]["f1"]
        assert float(row["auroc"]) == metrics["cells"][row["cell"]]["scores"]["auroc"]
    scopes = {row["scope"] for row in sheet(run.paths.report.metrics_csv)}
    assert scopes == {"overall", "group", "source", "original_label", "group_by_source", "group_by_original_label"}


def test_the_csv_files_can_have_the_columns_of_the_record(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(50, report={"metrics_columns": "record"}), 2)
    metrics = merge_run(run)
    first = sheet(run.paths.report.bias_csv)[0]
    assert list(first) == [
        "strategy", "persona_tag", "sample_count", "false_positive_rate", "false_negative_rate", "true_positive",
        "true_negative", "false_positive", "false_negative",
    ]  # fmt: skip
    m = metrics["cells"]["r4"]["groups"]["group"]["north"]
    assert (first["strategy"], first["persona_tag"], int(first["sample_count"])) == ("r4", "north", m["n"])
    assert float(first["false_positive_rate"]) == m["fpr"]
    assert list(sheet(run.paths.report.metrics_csv)[0])[:5] == [
        "strategy",
        "accuracy",
        "precision",
        "recall",
        "f1_score",
    ]


def test_many_cells_are_not_compared_with_each_other_in_all_pairs(tmp_path: Path) -> None:
    cells = [*(f"r{rank}" for rank in range(2, 12)), "baseline"]
    metrics = merged(tmp_path, make_world(30, cells=cells), 1)
    others = [entry for entry in metrics["comparisons"] if entry["kind"] == "cells"]
    assert len(others) == 9 and len({entry["tried"] for entry in others}) == 1 and others[0]["tried"] == 45
    assert len([entry for entry in metrics["comparisons"] if entry["kind"] == "baseline"]) == 10


def test_the_reference_group_is_the_named_one_or_the_largest_and_says_so(tmp_path: Path) -> None:
    named = merged(tmp_path / "a", make_world(30, report={"reference_group": "south"}))
    assert named["cells"]["r4"]["disparities"]["group"]["reference"] == "south" and not named["coverage"]["findings"]
    unknown = merged(tmp_path / "b", make_world(31, report={"reference_group": "east"}))
    assert unknown["cells"]["r4"]["disparities"]["group"]["reference"] == "north" and unknown["complete"]
    assert "'east'" in unknown["coverage"]["findings"][0]["sentence"]


def test_the_training_of_each_cell_is_told(tmp_path: Path) -> None:
    cells = merged(tmp_path, make_world(20))["cells"]
    assert cells["baseline"]["training"] is None
    training = cells["r8"]["training"]
    assert (training["seconds"], training["train_loss"], training["tokens"], training["tokens_per_s"]) == (
        12.5,
        0.25,
        1200,
        308.0,
    )


def test_of_very_many_group_differences_the_clearest_are_kept(tmp_path: Path) -> None:
    world = make_world(60)
    for index, record in enumerate(world.records):
        record.group = f"group {index % 20}"
    gaps = merged(tmp_path, world)["cells"]["r4"]["disparities"]["group"]
    assert gaps["pairwise_total"] == 3 * 190 and len(gaps["pairwise"]) == 100
    assert len(gaps["standardised"]["fpr"]["differences"]) <= 300


def test_very_many_groups_within_strata_keep_what_bias_is_read_from(tmp_path: Path) -> None:
    few, world = merged(tmp_path / "few", make_world(200)), make_world(200)
    for index, record in enumerate(world.records):
        record.group = f"group {index % 35}"
    many = merged(tmp_path / "many", world)
    needed = {"n", "n_positive", "n_negative", "f1", "fpr", "fpr_low", "fpr_high", "fnr", "fnr_low", "fnr_high",
              "selection_rate", "parse_rate"}  # fmt: skip
    within = {
        name: metrics["cells"]["r4"]["stratified"]["group_by_source"]["group"]
        for name, metrics in (("few", few), ("many", many))
    }
    assert all(sums(m) == m["n"] and needed <= m.keys() for groups in within["many"].values() for m in groups.values())
    assert sum(m["n"] for groups in within["many"].values() for m in groups.values()) == 200
    assert all("mcc" in m for groups in within["few"].values() for m in groups.values())
    assert not any("mcc" in m for groups in within["many"].values() for m in groups.values())


def test_the_file_is_what_was_computed_and_a_group_is_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(60), 2)
    metrics, text = merge_run(run), run.paths.report.metrics_json.read_text()
    assert json.loads(text) == json.loads(json.dumps(metrics)) and text.endswith("}\n")
    (line,) = [line for line in text.splitlines() if line.strip().startswith('"north": {"n": 20,')][:1]
    assert json.loads(line.strip().partition(": ")[2].rstrip(","))["fpr_low"] is not None


def test_figures_that_are_no_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_figures(tmp_path / "metrics.json", {"a": {"b": float("nan")}})
    assert not list(tmp_path.iterdir())


def test_a_merge_needs_no_framework(tmp_path: Path) -> None:
    run = make_run(tmp_path, make_world(20), 2)
    script = (
        "import sys; from sftlib.__main__ import main; code = main(['merge', sys.argv[1]]);"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pandas', 'peft') if m in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.paths.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_a_model_that_gave_no_numbers_is_named() -> None:
    cell = {
        "unparsed": {"reasons": {"engine_error": 3, "no_json": 1}, "unknown_labels": {}},
        "groups": {},
        "unlabelled": 0,
    }
    (note,) = answer_notes(SFTConfig(), {"r4": {**cell, "scores": None}})
    assert str(note) == (
        "r4: 3 records that the engine could not answer (counted as unparsed; the model gave no numbers (has its training "
        "diverged?), or the engine broke off)"
    )
