"""The frozen source, the driver's record, staging."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs import freeze as freezing
from jobs.driver import read_driver, sole_driver
from jobs.freeze import freeze
from jobs.staging import stage_bundled, staging_problems, unstaged_models
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.processes import current_process
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError
from sftlib.paths import RunPaths


def test_frozen_once_and_usable(tmp_path, monkeypatch) -> None:
    source = tmp_path / "source"
    for name in ("sftlib/__init__.py", "sftlib/data/posts/train.jsonl", "sftlib/__pycache__/x.pyc", "jobs/a.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"# {name}\n")
    monkeypatch.setattr(freezing, "_PACKAGES", {"sftlib": source / "sftlib", "jobs": source / "jobs"})
    paths = RunPaths(tmp_path / "run")
    folder = freeze(paths)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "jobs/a.py",
        "sftlib/__init__.py",
    ]
    stamp = folder.stat().st_mtime_ns
    assert freeze(paths) == folder and folder.stat().st_mtime_ns == stamp
    (source / "jobs" / "a.py").write_text("# another\n")
    assert freeze(paths) != folder and (folder / "jobs" / "a.py").read_text() == "# jobs/a.py\n"


def test_the_real_source_imports_from_its_frozen_copy(tmp_path) -> None:
    folder = freeze(RunPaths(tmp_path))
    program = "import jobs.supervisor, sftlib.config.rundir; print(jobs.supervisor.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().startswith(str(folder))


def test_one_driver_at_a_time(tmp_path) -> None:
    paths = RunPaths(tmp_path)
    with sole_driver(paths, print):
        assert read_driver(paths) == current_process()
        with pytest.raises(SftError, match="already driven by process"), sole_driver(paths, print):
            pass
    assert read_driver(paths) is None


def test_a_driver_elsewhere_and_a_dead_one(tmp_path, capsys) -> None:
    paths = RunPaths(tmp_path)
    write_json(paths.driver, {**current_process().to_json(), "host": "elsewhere"})
    with pytest.raises(SftError, match="on elsewhere, which cannot be asked"), sole_driver(paths, print):
        pass
    write_json(paths.driver, {**current_process().to_json(), "start": "before"})
    with sole_driver(paths, print):
        assert read_driver(paths) == current_process()
    assert "taking over" in capsys.readouterr().out
    paths.driver.write_text("{")
    with sole_driver(paths, print):
        pass


def test_leftovers_are_waited_for_and_named(tmp_path) -> None:
    paths = RunPaths(tmp_path)
    (paths.attempt(1)).mkdir(parents=True)
    write_json(paths.attempt(1) / "train.r4.processes.json", [current_process().to_json()])
    message = f"processes {current_process().pid} of an earlier attempt still run"
    with pytest.raises(SftError, match=message), sole_driver(paths, print, patience_s=0.3):
        pass
    assert not paths.driver.exists()


def test_staging_only_what_is_missing(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("SFTLIB_CACHE", str(tmp_path))
    config = SFTConfig()
    assert unstaged_models([config, config]) == ["smollm2-135m-instruct"]
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 1))
    with pytest.raises(SftError, match="failed"):
        stage_bundled([config], ["exp.yaml"], sys.stdout)
    (tmp_path / "models" / "smollm2-135m-instruct").mkdir(parents=True)
    (tmp_path / "models" / "smollm2-135m-instruct" / "config.json").touch()
    stage_bundled([config], ["exp.yaml"], sys.stdout)
    # It lies in our own cache, with a manifest or (put there by hand, by an older version) without: no hub is asked for.
    assert not list(staging_problems([config], is_offline=True))
