"""Every way a shard can go wrong: detected, named, mended by `sft rerun`, and nothing lost. Real files, a real full disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sftlib.artifacts.shards import read_shard
from sftlib.config.rundir import Run, open_run
from tests.conftest import PROJECT
from tests.posts import write_experiment

SHARDS = 4
# Baseline only, with the dummy engine: what is tried here is all around the model.
EXPERIMENT = {"predict": {"num_shards": SHARDS, "engine": "dummy", "shards_per_job": SHARDS}}
pytestmark = pytest.mark.slow


def sft(folder: Path, *arguments: str, expect: int = 0, prefix: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "jobs.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(run: Run) -> list[dict]:
    return [row for i in range(SHARDS) for row in read_shard(run.paths.cell("baseline"), i, SHARDS).to_pylist()]


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    sft(folder, "predict", str(write_experiment(folder, tiny_model, **EXPERIMENT)), "--cell", "baseline")
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Run:
    """A copy of a predicted run, to be damaged."""
    shutil.copytree(whole, tmp_path / "copy", symlinks=True)
    return open_run(tmp_path / "copy" / "runs" / "latest")


def flip_a_byte(run: Run) -> None:
    path = run.paths.cell("baseline").shard(1, SHARDS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(run: Run) -> None:
    path = run.paths.cell("baseline").shard(1, SHARDS)
    path.write_bytes(path.read_bytes()[:-100])


def delete_manifest(run: Run) -> None:
    run.paths.cell("baseline").shard_manifest(1, SHARDS).unlink()


def take_another_experiments_manifest(run: Run) -> None:
    path = run.paths.cell("baseline").shard_manifest(1, SHARDS)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "parts": {**value["parts"], "test": "0" * 64}}))


def copy_over_another(run: Run) -> None:
    cell = run.paths.cell("baseline")
    shutil.copy(cell.shard(0, SHARDS), cell.shard(1, SHARDS))
    shutil.copy(cell.shard_manifest(0, SHARDS), cell.shard_manifest(1, SHARDS))


def copy_beside(run: Run) -> None:
    cell = run.paths.cell("baseline")
    shutil.copy(cell.shard(0, SHARDS), cell.predictions / "part-00000-of-00004 (1).parquet")


def leave_a_temporary(run: Run) -> None:
    (run.paths.cell("baseline").predictions / ".part-00001-of-00004.parquet.x1.9.tmp").write_bytes(b"PAR1 half")


FAULTS: dict[Callable[[Run], None], tuple[int, str]] = {
    flip_a_byte: (3, "shard 1 of 4  corrupt: sha256 differs"),
    truncate: (3, "shard 1 of 4  corrupt: "),
    delete_manifest: (3, "shard 1 of 4  missing: file without a manifest"),
    take_another_experiments_manifest: (3, "shard 1 of 4  foreign: its fingerprint is not that of its parts"),
    copy_over_another: (3, "shard 1 of 4  foreign: manifest of baseline, shard 0 of 4"),
    copy_beside: (0, "part-00000-of-00004 (1).parquet: belongs to no shard"),
    leave_a_temporary: (0, ".part-00001-of-00004.parquet.x1.9.tmp: belongs to no shard"),
}


@pytest.mark.parametrize("damage", FAULTS, ids=lambda damage: damage.__name__)
def test_damage_is_named_and_mended_by_the_stage_that_rerun_starts(run: Run, damage: Callable[[Run], None]) -> None:
    before, folder = rows(run), run.paths.root.parents[1]
    damage(run)
    code, named = FAULTS[damage]
    assert named in sft(folder, "predict", str(run.paths.root), "--cell", "baseline", "--verify", expect=code)
    said = sft(folder, "predict", str(run.paths.root), "--cell", "baseline")
    assert f"{SHARDS - (code == 3)} of {SHARDS} shards are there" in said  # the others are not done again
    assert rows(run) == before
    assert sft(folder, "predict", str(run.paths.root), "--cell", "baseline", "--verify").startswith("baseline: 4 of 4")


def test_rerun_mends_every_damage_at_once(whole: Path, tiny_model: Path, tmp_path: Path) -> None:
    sft(tmp_path, "run", str(write_experiment(tmp_path, tiny_model, **EXPERIMENT)), "--cluster", "local")
    run = open_run(tmp_path / "runs" / "latest")
    before = rows(run)
    flip_a_byte(run)
    run.paths.cell("baseline").shard_manifest(2, SHARDS).unlink()
    copy_beside(run)
    leave_a_temporary(run)
    assert "sft rerun" in sft(tmp_path, "predict", str(run.paths.root), "--verify", expect=3)
    printed = sft(tmp_path, "predict", str(run.paths.root), "--verify", "--json", expect=3)
    found, _ = json.JSONDecoder().raw_decode(printed)  # the message behind it goes to stderr
    assert found["shards"] == SHARDS and found["cells"]["main"] == {"valid": SHARDS, "faults": [], "strays": []}
    told = found["cells"]["baseline"]
    assert [fault["shard"] for fault in told["faults"]] == [1, 2] and told["valid"] == SHARDS - 2
    assert len(told["strays"]) == 2
    said = sft(tmp_path, "rerun", str(run.paths.root))
    assert "it is no shard of this run" in said and "left behind" in said and "6 of 8 shards" in said
    assert rows(run) == before
    sft(tmp_path, "predict", str(run.paths.root), "--verify")
    aside = run.paths.cell("baseline").predictions / ".aside" / "part-00000-of-00004 (1).parquet.stray"
    assert aside.exists()  # put away, not lost


# In a mount namespace of its own a process may lay a small or closed file system over the folder; root alone is not
# stopped by modes, but a read-only mount stops it too.
MOUNTS = {
    "full": (
        "mount -t tmpfs -o size=32k tmpfs {folder} && head -c 20k /dev/zero > {folder}/.filler",
        "No space left on device",
    ),
    "read-only": ("mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}", "Read-only file system"),
}


@pytest.mark.parametrize("kind", MOUNTS)
def test_a_full_or_closed_disk_is_named_and_mended_once_there_is_room(run: Run, kind: str) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user and mount namespaces")
    before, folder = rows(run), run.paths.root.parents[1]
    predictions = run.paths.cell("baseline").predictions
    for index in (1, 2):
        run.paths.cell("baseline").shard_manifest(index, SHARDS).unlink()
    mount, named = MOUNTS[kind]
    script = f'{mount.format(folder=predictions)} && exec "$@"'
    said = sft(
        folder, "predict", str(run.paths.root), "--cell", "baseline", expect=1, prefix=("unshare", "-Urm", "sh", "-c", script, "sh")
    )  # fmt: skip
    assert named in said and "predictions" in said and "Traceback" not in said
    assert not list(predictions.glob(".*.tmp")) and len(list(predictions.glob("*.json"))) == SHARDS - 2
    sft(folder, "predict", str(run.paths.root), "--cell", "baseline")
    assert rows(run) == before


def test_killed_workers_leave_a_run_that_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prediction_kills", "--kills", "4"], cwd=PROJECT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| final tables equal | 4 |" in done.stdout and "| final tables that differ | 0 |" in done.stdout
