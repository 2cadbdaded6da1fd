"""`predict --limit N --show`: a look that writes nothing, and that nothing takes for a prediction."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sftlib.__main__ import main
from sftlib.config.rundir import open_target
from tests.posts import write_experiment, write_posts


def look(path: Path, *arguments: str) -> int:
    return main(["predict", str(path), "--runs-dir", str(path.parent / "runs"), *arguments])


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_prompt_raw_answer_label_and_time_are_shown_and_nothing_is_written(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment(tmp_path, tiny_model, predict={"method": "generate", "constrain": True, "num_shards": 2})
    assert look(path, "--limit", "4", "--show") == 0
    first = capsys.readouterr().out
    assert first.count("<|im_start|>user") == 4 and "the people of" in first
    answers = re.findall(
        r"^\[p100\d\] gold '(?:hate|normal)'  answer '(hate|normal)'  raw '(.*)'$", first, re.MULTILINE
    )
    assert len(answers) == 4 and all(label == raw for label, raw in answers)
    assert re.search(r"^baseline: 4 records in [\d.]+ s \([\d.]+ s each\), loaded in", first, re.MULTILINE)
    before = files(tmp_path)
    assert look(path, "--limit", "4", "--show") == 0, "and again in the same run"
    strip_times = re.compile(r"[\d.]+ s")
    assert strip_times.sub("", capsys.readouterr().out) == strip_times.sub("", first)
    run = open_target(path, [], tmp_path / "runs")
    assert files(tmp_path) == before and not run.paths.cell("baseline").predictions.exists()
    assert main(["merge", str(run.paths.root)]) == 3, "a merge finds no shard"


def test_a_script_gets_the_same_answers(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_experiment(tmp_path, tiny_model)
    assert look(path, "--cell", "baseline", "--limit", "3") == 0
    shown = re.findall(
        r"^\[(.*?)\] gold '(.*?)'  answer '(.*?)'  score ([\d.]+)$", capsys.readouterr().out, re.MULTILINE
    )
    assert look(path, "--cell", "baseline", "--limit", "3", "--show", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    told = [(a["sample_id"], a["gold"], a["prediction"], f"{a['score']:.4f}") for a in found["answers"]]
    assert found["cell"] == "baseline" and found["method"] == "score" and told == shown and len(shown) == 3
    assert all("<|im_start|>user" in a["prompt"] and len(a["label_logprobs"]) == 2 for a in found["answers"])


def test_labels_are_decided_as_in_the_shards(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment(tmp_path, tiny_model, predict={"threshold": "f1"})
    values = json.loads(path.read_text())
    write_posts(tmp_path / "validation.jsonl", 40, start=500)
    path.write_text(json.dumps({**values, "data": {**values["data"], "validation": "validation.jsonl"}}))
    assert look(path, "--cell", "baseline", "--limit", "3") == 0
    assert "are fitted when shards are predicted" in capsys.readouterr().out
    assert look(path, "--cell", "baseline") == 0
    threshold = json.loads(open_target(path, [], tmp_path / "runs").paths.cell("baseline").decision.read_text())[
        "threshold"
    ]
    capsys.readouterr()
    assert look(path, "--cell", "baseline", "--limit", "18") == 0
    said = capsys.readouterr().out
    shown = re.findall(r"answer '(hate|normal)'  score ([\d.]+)", said)
    assert "are fitted when" not in said and len(shown) == 18
    assert all((label == "hate") == (float(score) >= threshold["value"] - 5e-5) for label, score in shown if abs(float(score) - threshold["value"]) > 1e-4)  # fmt: skip


def test_a_cell_that_is_not_trained_is_named_with_the_remedy(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_experiment(tmp_path, tiny_model)
    for arguments in (["--cell", "main", "--limit", "2"], ["--cell", "main"]):
        assert look(path, *arguments) == 2
        assert re.search(r"main is not trained yet .*: sft train .* --cell main", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--show"], "--show goes with --limit"),
        (["--limit", "0"], "expected at least 1"),
        (["--limit", "2", "--shards", "0"], "drop --verify, --shards and --workers"),
        (["--limit", "2", "--verify"], "drop --verify, --shards and --workers"),
        (["--verify", "--workers", "2"], "drop --shards and --workers"),
        (["--json"], "--json goes with --verify or --limit"),
        (["--adapter", "x"], "--adapter goes with --limit"),
    ],
)
def test_what_would_be_left_out_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    path = write_experiment(tmp_path, tiny_model)
    assert look(path, *arguments) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "runs").exists()
