"""`sft rerun --cluster`: where a run goes on is laid anew; what shapes its results stays as it was."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
import yaml

from jobs import chain
from jobs.cli import main
from jobs.commands import rerun
from jobs.placement import placed
from sftlib.config.load import load_experiment
from sftlib.config.problems import ConfigError
from sftlib.config.rundir import Run, prepare_run, read_splits

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


def profile(folder: Path, name: str, **sections: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(sections))
    return str(path)


@pytest.fixture
def made(experiment_file, tmp_path: Path) -> Run:
    """Made for one cluster, with memory and a lead that the experiment itself asks for."""
    first = profile(tmp_path, "first", cluster={"scheduler": "slurm", "partition": "old", "max_submit": 5})
    path = experiment_file(cluster={"signal_lead_s": 77})
    experiment = load_experiment(path, ["cluster.train.memory_gb=9"], first)
    return prepare_run(
        experiment, read_splits(experiment), tmp_path / "runs", {"settings": ["cluster.train.memory_gb=9"]}
    )


def test_a_profile_brings_its_cluster_and_its_image(made: Run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "it's.sif").write_bytes(b"image")
    monkeypatch.setenv("SFT_TEST_IMAGE", "it's.sif")
    second = profile(
        tmp_path, "second", cluster={"scheduler": "slurm", "constraint": "new"}, parallel={"timeout_min": 5},
        container={"runtime": "apptainer", "image": "${SFT_TEST_IMAGE}"},
    )  # fmt: skip
    said: list[str] = []
    config = placed(made, second, said.append)
    assert (config.container.runtime, config.container.image) == ("apptainer", str(tmp_path / "it's.sif"))
    assert (config.cluster.constraint, config.cluster.partition, config.cluster.max_submit) == ("new", None, None)
    assert (config.cluster.signal_lead_s, config.cluster.train.memory_gb) == (77, 9)  # the file's, and --set of then
    assert config.parallel == made.config.parallel and "section parallel" in said[0]
    made_from = Path(made.record["experiment"])
    made_from.unlink()
    config = placed(made, second, said.append)
    assert config.cluster.signal_lead_s == 300 and "is gone: only the profile" in said[1]


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"container": {"runtime": "apptainer", "image": "gone.sif"}}, "container.image"),
        ({"cluster": {"partitoin": "x"}}, "did you mean 'partition'?"),
    ],
)
def test_a_wrong_profile_is_refused(made: Run, tmp_path: Path, sections: dict, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        placed(made, profile(tmp_path, "wrong", **sections), print)
    assert complaint in str(refused.value)
    with pytest.raises(ConfigError, match="did you mean 'slurm'"):
        placed(made, "slrum", print)


def test_rerun_looks_before_it_starts_anything(made: Run, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(rerun, "Chain", functools.partial(chain.Chain, command=FAKE_STAGE))
    (tmp_path / "image.sif").write_bytes(b"image")
    here = profile(
        tmp_path, "here", cluster={"scheduler": "local"},
        container={"runtime": "apptainer", "image": str(tmp_path / "image.sif"), "binds": ["/no/such/folder"]},
    )  # fmt: skip
    assert main(["rerun", str(made.paths.root), "--cluster", here]) == 2
    assert "/no/such/folder is not there" in capsys.readouterr().err
    assert not list(made.paths.jobs.glob("attempt-*"))
