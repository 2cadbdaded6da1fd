"""From an experiment file to a report with real stages and a tiny model; killed in the middle, and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sftlib.paths import RunPaths
from tests.conftest import PROJECT
from tests.posts import write_experiment

REPORT_FILES = ("predictions.parquet", "metrics.csv", "bias.csv", "metrics.json", "report.txt", "report.html")
pytestmark = pytest.mark.slow


def sft(folder: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "jobs.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def run_dir(folder: Path) -> RunPaths:
    return RunPaths((folder / "runs" / "latest").resolve())


def experiment(folder: Path, model: Path, **sections: Any) -> Path:
    sweep = {"grid": {"lora.r": [2, 4]}}
    return write_experiment(folder, model, sweep=sweep, predict={"num_shards": 2}, **sections)


def outcome(run: RunPaths) -> tuple[list[dict], dict]:
    """What a reader of the report sees: every prediction, and every figure that is not a time."""
    metrics = json.loads(run.report.metrics_json.read_text())
    cells = {name: {k: v for k, v in cell.items() if k != "training"} for name, cell in metrics["cells"].items()}
    return pq.read_table(run.report.predictions).to_pylist(), cells


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    sft(folder, "run", str(experiment(folder, tiny_model)), "--cluster", "local")
    return folder


def test_an_experiment_becomes_a_report(undisturbed: Path) -> None:
    run = run_dir(undisturbed)
    for name in REPORT_FILES:
        assert (run.report.root / name).stat().st_size > 0
    rows, cells = outcome(run)
    assert set(cells) == {"r2", "r4", "baseline"}
    assert len(rows) == 3 * 18 and len({(row["cell"], row["sample_id"]) for row in rows}) == 3 * 18
    for name, cell in cells.items():
        assert cell["overall"]["n"] == 18
        correct = sum(row["gold"] == row["prediction"] for row in rows if row["cell"] == name)
        assert cell["overall"]["accuracy"] == pytest.approx(correct / 18)


def test_a_second_run_reuses_everything(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_dir(undisturbed).cells.rglob("*") if path.is_file()}
    said = sft(undisturbed, "run", "experiment.json", "--cluster", "local").stdout
    assert "nothing to do" in said and "report.html" in said
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_same_seed_gives_the_same_predictions(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    sft(tmp_path, "run", str(experiment(tmp_path, tiny_model)), "--cluster", "local")
    assert run_dir(tmp_path).root.name == run_dir(undisturbed).root.name  # the same settings and the same data
    assert outcome(run_dir(tmp_path)) == outcome(run_dir(undisturbed))


@pytest.mark.parametrize("moment", ["in the middle of a cell", "in the middle of the shards"])
def test_a_killed_run_goes_on_to_the_same_report(
    undisturbed: Path, tiny_model: Path, tmp_path: Path, moment: str
) -> None:
    path = experiment(tmp_path, tiny_model)
    driver = subprocess.Popen(
        command("run", str(path), "--cluster", "local"), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.time() + 240
    while not has_come(moment, tmp_path):
        assert driver.poll() is None and time.time() < deadline
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not run_dir(tmp_path).report.metrics_json.exists()
    sft(tmp_path, "rerun", "runs/latest")
    assert outcome(run_dir(tmp_path)) == outcome(run_dir(undisturbed))


def has_come(moment: str, folder: Path) -> bool:
    if not (folder / "runs" / "latest").exists():
        return False
    run = run_dir(folder)
    if moment == "in the middle of a cell":
        lines = run.cell("r2").metrics
        return lines.exists() and len(lines.read_text().splitlines()) >= 2 and not run.cell("r2").summary.exists()
    return any(run.cells.glob("*/predictions/*.parquet"))


def test_damage_is_found_named_and_mended(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    sft(tmp_path, "run", str(experiment(tmp_path, tiny_model)), "--cluster", "local")
    run = run_dir(tmp_path)
    shard = run.cell("r2").shard(1, 2)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    run.cell("baseline").shard_manifest(0, 2).unlink()
    said = sft(tmp_path, "merge", str(run.root), expect=3)
    assert "INCOMPLETE" in run.report.text.read_text() and "sft rerun" in said.stdout + said.stderr
    assert json.loads(run.report.metrics_json.read_text())["complete"] is False
    sft(tmp_path, "rerun", str(run.root))
    assert outcome(run) == outcome(run_dir(undisturbed))


def test_wrong_data_is_refused_before_anything_starts(tiny_model: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path, tiny_model)
    for content, expected in [
        (None, "no such file"),
        ("", "holds no record"),
        ("not json\n", "not valid JSON"),
        ('{"a": 1}\n', "no format fits"),
    ]:
        (tmp_path / "test.jsonl").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "test.jsonl").write_text(content)
        said = sft(tmp_path, "run", str(path), "--cluster", "local", expect=2)
        assert expected in said.stderr and "test.jsonl" in said.stderr
        assert not (tmp_path / "runs").exists()


def test_stages_by_hand_make_the_same_report(undisturbed: Path, tiny_model: Path, tmp_path: Path) -> None:
    path = experiment(tmp_path, tiny_model)
    sft(tmp_path, "train", str(path))
    sft(tmp_path, "predict", "runs/latest")
    sft(tmp_path, "merge", "runs/latest")
    assert outcome(run_dir(tmp_path)) == outcome(run_dir(undisturbed))
