"""Thresholds and calibration are fitted off the test set, once a cell, and every shard obeys the one file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sftlib.artifacts.progress import Progress, ProgressFile
from sftlib.artifacts.shards import read_shard
from sftlib.config.checks import check_tree
from sftlib.config.rundir import Run, open_target
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import samples_of
from sftlib.errors import InputError
from sftlib.infer.answers import FAILED, scored_answer
from sftlib.infer.decisions import Decision, content_free
from sftlib.infer.stage import Predictor, predict_shards
from sftlib.metrics.thresholds import fit_threshold
from tests.posts import write_experiment, write_posts

SILENT = ProgressFile(None, Progress("predict", "predict", "baseline"))
TASK = {"type": "classification", "labels": ["hate", "normal"], "positive": "hate"}


def experiment(folder: Path, model: Path, **predict: Any) -> Run:
    folder.mkdir(exist_ok=True)
    write_posts(folder / "validation.jsonl", 40, start=500)
    path = write_experiment(folder, model, predict={"num_shards": 3, **predict})
    values = json.loads(path.read_text())
    values["data"]["validation"] = "validation.jsonl"
    path.write_text(json.dumps(values))
    return open_target(path, [], folder / "runs")


def rows(run: Run) -> list[dict]:
    return [row for i in range(3) for row in read_shard(run.paths.cell("baseline"), i, 3).to_pylist()]


@pytest.mark.parametrize("objective", ["f1", "youden"])
def test_the_threshold_is_the_best_on_validation_and_decides_every_test_record(
    tiny_model: Path, tmp_path: Path, objective: str
) -> None:
    run = experiment(tmp_path, tiny_model, threshold=objective)
    predict_shards(run, "baseline", range(3), SILENT)
    written = json.loads(run.paths.cell("baseline").decision.read_text())
    config = run.cell_config("baseline")
    predictor = Predictor(config, None)
    validation = samples_of(run.split(config, "validation"), config)
    scores = [answer.score for answer in predictor.answers(validation)]
    fit = fit_threshold([0 if sample.gold == "hate" else 1 for sample in validation], scores, objective)
    assert written["threshold"]["value"] == pytest.approx(fit.threshold, abs=1e-5)
    assert written["threshold"]["objective"] == objective and written["threshold"]["records"] == 40
    assert written["parts"]["validation"] == run.inputs["validation"]["sha256"] and written["receipt"]["packages"]
    for row in rows(run):
        assert row["prediction"] == ("hate" if row["score"] >= written["threshold"]["value"] else "normal")
    assert len({row["prediction"] for row in rows(run)} | {"both"}) >= 2


def test_the_test_set_has_no_part_in_the_fit(tiny_model: Path, tmp_path: Path) -> None:
    first = experiment(tmp_path / "a", tiny_model, threshold="f1", calibrate="batch")
    predict_shards(first, "baseline", [0], SILENT)
    write_posts(tmp_path / "a" / "test.jsonl", 30, start=9000)
    second = open_target(tmp_path / "a" / "experiment.json", [], tmp_path / "a" / "runs")
    assert second.paths.root != first.paths.root
    predict_shards(second, "baseline", [0], SILENT)
    a, b = (json.loads(run.paths.cell("baseline").decision.read_text()) for run in (first, second))
    assert a["threshold"] == pytest.approx(b["threshold"]) and a["calibration"] == b["calibration"]


def test_batch_calibration_makes_the_validation_labels_even(tiny_model: Path, tmp_path: Path) -> None:
    run = experiment(tmp_path, tiny_model, calibrate="batch")
    predict_shards(run, "baseline", range(3), SILENT)
    shifts = json.loads(run.paths.cell("baseline").decision.read_text())["calibration"]["label_shifts"]
    assert sum(math.exp(shift) for shift in shifts) == pytest.approx(1)
    for row in rows(run):
        corrected = [value - shift for value, shift in zip(row["label_logprobs"], shifts, strict=True)]
        assert row["prediction"] == ["hate", "normal"][corrected[1] > corrected[0]]
        assert row["score"] == pytest.approx(1 / (1 + math.exp(corrected[1] - corrected[0])))


def test_contextual_calibration_asks_what_the_model_says_of_nothing(tiny_model: Path, tmp_path: Path) -> None:
    run = experiment(tmp_path, tiny_model, calibrate="contextual")
    config = run.cell_config("baseline")
    sample = samples_of(run.split(config, "test"), config)[0]
    empty = content_free(sample, {"text": sample.messages[-1]["content"]}, config)
    assert [item.messages[-1]["content"] for item in empty] == ["N/A", "[MASK]", "-"]
    assert all(item.messages[:-1] == sample.messages[:-1] for item in empty)
    predict_shards(run, "baseline", [0], SILENT)
    found = json.loads(run.paths.cell("baseline").decision.read_text())["calibration"]
    means = [sum(math.exp(a.label_logprobs[i]) / sum(map(math.exp, a.label_logprobs)) for a in Predictor(config, None).answers(empty)) / 3 for i in (0, 1)]  # fmt: skip
    assert [math.exp(shift) for shift in found["label_shifts"]] == pytest.approx(means, abs=1e-5)


def test_all_processes_decide_by_the_first_fit(tiny_model: Path, tmp_path: Path) -> None:
    run = experiment(tmp_path, tiny_model, threshold="f1")
    predict_shards(run, "baseline", [0], SILENT)
    written = run.paths.cell("baseline").decision.read_bytes()
    predict_shards(run, "baseline", [1, 2], SILENT)
    assert run.paths.cell("baseline").decision.read_bytes() == written
    manifests = [json.loads(run.paths.cell("baseline").shard_manifest(i, 3).read_text()) for i in range(3)]
    assert len({manifest["fingerprint"] for manifest in manifests}) == 1 and manifests[0]["parts"]["decision"]


def test_a_decision_of_other_settings_is_fitted_anew(tiny_model: Path, tmp_path: Path) -> None:
    run = experiment(tmp_path, tiny_model, threshold="f1")
    path = run.paths.cell("baseline").decision
    predict_shards(run, "baseline", [0], SILENT)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "parts": {**value["parts"], "adapter": "another"}, "threshold": {"value": 2}}))
    predict_shards(run, "baseline", [1], SILENT)
    assert json.loads(path.read_text())["threshold"] == value["threshold"]


def test_validation_of_one_label_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    run = experiment(tmp_path, tiny_model, threshold="youden")
    write_posts(tmp_path / "validation.jsonl", 6, label_binary="normal")
    run = open_target(tmp_path / "experiment.json", [], tmp_path / "runs")
    with pytest.raises(InputError, match=r"predict.threshold = 'youden'.*0 of 6 records of 'hate'"):
        predict_shards(run, "baseline", [0], SILENT)


@pytest.mark.parametrize("predict", [{"threshold": "f1"}, {"calibrate": "batch"}])
def test_nothing_is_fitted_to_scores_that_are_no_numbers(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: dict
) -> None:
    run = experiment(tmp_path, tiny_model, **predict)
    monkeypatch.setattr(Predictor, "answers", lambda self, samples: [FAILED] * len(samples))
    with pytest.raises(InputError, match=f"predict.{next(iter(predict))} = .*scores are no numbers"):
        predict_shards(run, "baseline", [0], SILENT)


def test_of_three_labels_the_best_other_one_is_said_below_the_threshold() -> None:
    config = SFTConfig.model_validate({"task": {**TASK, "labels": ["hate", "normal", "spam"]}})
    answer = scored_answer([-1.0, -3.0, -2.0], config.task)
    assert Decision(threshold=0.99, digest="x").decide(answer, config).prediction == "spam"
    assert Decision(threshold=0.5, digest="x").decide(answer, config).prediction == "hate"
    shifted = Decision([0.0, -5.0, 0.0], digest="x").decide(answer, config)
    assert shifted.prediction == "normal" and shifted.label_logprobs == [-1.0, -3.0, -2.0]


@pytest.mark.parametrize(
    ("task", "predict", "key"),
    [
        (TASK, {"threshold": "f1"}, "predict.threshold"),  # no validation
        (TASK, {"calibrate": "batch"}, "predict.calibrate"),
        (TASK, {"threshold": "f1", "method": "generate"}, "predict.threshold"),
        ({"type": "generation"}, {"calibrate": "contextual"}, "predict.calibrate"),
        ({"type": "generation"}, {"constrain": True}, "predict.constrain"),
    ],
)
def test_what_cannot_be_fitted_is_a_problem_of_the_plan(task: dict, predict: dict, key: str) -> None:
    config = SFTConfig.model_validate({"task": task, "predict": predict})
    assert key in [problem.key for problem in check_tree(config)]
