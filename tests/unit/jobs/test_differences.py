"""What is said of a run before it is repeated: nothing of what is as it was, whatever image and profile it was made with."""

from __future__ import annotations

from pathlib import Path

import yaml

from jobs.differences import differences_before
from sftlib.config.load import load_experiment
from sftlib.config.rundir import Run, prepare_run, read_splits


def made(path: Path, profile: str) -> Run:
    experiment = load_experiment(path, [], profile)
    return prepare_run(experiment, read_splits(experiment), path.parent / "runs", {})


def words(run: Run) -> list[str]:
    return [difference.words for difference in differences_before(run, run.config)]


def test_a_folder_as_image_has_no_hash_to_differ(experiment_file, tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    run = made(experiment_file(container={"runtime": "apptainer", "image": str(tmp_path / "sandbox")}), "local")
    assert words(run) == []


def test_what_the_profile_said_is_no_difference(experiment_file, tmp_path: Path) -> None:
    """Profiles may set any section; where a run was made with one, its file is read with it again."""
    profile = tmp_path / "site.yaml"
    profile.write_text(yaml.safe_dump({"cluster": {"scheduler": "slurm"}, "parallel": {"timeout_min": 5}}))
    path = experiment_file(cluster={})
    run = made(path, str(profile))
    assert words(run) == []
    path.write_text(path.read_text().replace("org/model", "org/other"))
    assert words(run) == [
        "model.name_or_path: 'org/model' then, 'org/other' in tiny.yaml now (repeated as it was then)"
    ]
    profile.unlink()
    (said,) = words(run)
    assert said.startswith("tiny.yaml cannot be read any more: ")
    assert str(profile) in said and "there is no such file and no such name" in said
