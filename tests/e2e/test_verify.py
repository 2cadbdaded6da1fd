"""`sft rerun --verify`: what repeats bit for bit, and every kind of thing that is not as it was, named in a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.repeating import run_once
from tests.e2e.test_thin_line import command, environment, experiment, run_dir, sft

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_model, folder / "model")
    experiment(folder, folder / "model")
    settings = ("--set", "sweep.grid={lora.r: [2]}", "--set", "predict.baseline=false", "--set", "predict.num_shards=1")
    sft(folder, "run", "experiment.json", "--cluster", "local", *settings)
    return folder


def test_a_single_process_repeats_bit_for_bit(finished: Path) -> None:
    said = sft(finished, "rerun", "runs/latest", "--verify").stdout
    assert "r2  adapter equal bit for bit; 18 predictions equal bit for bit" in said
    assert "verified" in said and "then" not in said.partition("verified")[0].rpartition("\n\n")[2]
    record = json.loads(next((finished / "runs").glob("*.verify-001")).joinpath("verified.json").read_text())
    assert record["exit_code"] == 0 and record["differences"] == []


def test_a_changed_data_byte_is_named_and_nothing_is_started(finished: Path) -> None:
    test = finished / "test.jsonl"
    before = test.read_text()
    test.write_text(before.replace("people", "peoplf", 1))
    try:
        said = sft(finished, "rerun", "runs/latest", "--verify", expect=1).stdout
    finally:
        test.write_text(before)
    line = next(line for line in said.splitlines() if line.startswith("differs"))
    assert "data.test" in line and "test.jsonl was changed: sha256" in line
    assert "cannot be repeated" in said


@pytest.fixture(scope="module")
def on_two_ranks(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the strategies; the others: python -m benchmarks.repeating."""
    folder = tmp_path_factory.mktemp("two ranks")
    run_once(folder, tiny_model, "ddp")
    return folder


def test_two_ranks_repeat_and_what_is_another_now_is_named(on_two_ranks: Path, tmp_path: Path) -> None:
    """A changed prompt and a package more, each in a line; the repetition itself uses the prompt of then."""
    path = on_two_ranks / "experiment.json"
    before = path.read_text()
    path.write_text(before.replace("hate or normal?", "normal or hate?"))
    package = tmp_path / "invented-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: invented\nVersion: 1.0\n")
    env = {**environment(), "PYTHONPATH": f"{environment()['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    try:
        words = command("rerun", "runs/latest", "--verify")
        done = subprocess.run(words, cwd=on_two_ranks, env=env, capture_output=True, text=True, timeout=300)
    finally:
        path.write_text(before)
    assert done.returncode == 0, done.stdout + done.stderr  # the recorded prompt was used
    assert "prompt.system: 'hate or normal?' then, 'normal or hate?' in experiment.json now" in done.stdout
    assert "package invented: absent then, 1.0 now" in done.stdout
    (repeated,) = (on_two_ranks / "runs").glob("*.verify-001")
    summary = json.loads((repeated / "cells" / "main" / "summary.json").read_text())
    assert summary["complete"] and summary["performance"]["processes"] == 2
    assert json.loads((repeated / "verified.json").read_text())["cells"]["main"]["predictions"]["rows"] == 18


def test_a_difference_without_a_cause_is_a_failure(finished: Path, tmp_path: Path) -> None:
    """Weights that are not what this code makes of this data: the run says another thing than its repetition."""
    copy = tmp_path / "runs" / "other"
    shutil.copytree(run_dir(finished).root, copy, symlinks=True)
    spoil(copy)
    said = sft(tmp_path, "rerun", str(copy), "--verify", expect=1).stdout
    assert "adapter differs by at most" in said and "DIFFERS" in said


def spoil(root: Path) -> None:
    """Change one weight, and write the records anew as if it had been trained so."""
    from sftlib.artifacts.adapters import read_adapter_record, weights_digest
    from sftlib.paths import RunPaths

    cell = RunPaths(root).cell("r2")
    weights = cell.adapter / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    record = read_adapter_record(cell.adapter)
    assert record is not None
    from dataclasses import replace

    digest = weights_digest(cell.adapter)
    replace(record, weights_sha256=digest).write(cell.adapter)
    summary = json.loads(cell.summary.read_text())
    cell.summary.write_text(json.dumps({**summary, "adapter_sha256": digest}))
    sft(root.parent.parent, "rerun", str(root))  # predictions with the changed weights, and the report
