"""Runs on a real Slurm whose stages run in a real Apptainer image, with the real code and a tiny model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from experiments import Workplace, cluster_section
from real_cluster import Cluster

from tests.posts import write_experiment

pytestmark = [pytest.mark.slurm, pytest.mark.apptainer, pytest.mark.slow]


@pytest.fixture
def odd_place(cluster: Cluster, outputs: Path, tiny_model: Path, cpu_image: Path) -> Workplace:
    """Spaces, quotes, commas in every path; a bind of the profile's too; the environment poisoned."""
    folder = outputs / 'it\'s "a", place'
    folder.mkdir()
    shutil.copytree(tiny_model, folder / "the model")
    (folder / "bound, too").mkdir()
    write_experiment(
        folder, "the model",
        name="it's a run", sweep={"grid": {"lora.r": [2]}}, predict={"num_shards": 2, "shards_per_job": 1},
        cluster=cluster_section(environment={"SFT_TEST_TOKEN_HOLDER": "${SFT_TEST_SECRET_TOKEN}"}),
        container={"runtime": "apptainer", "image": str(cpu_image), "binds": [str(folder / "bound, too")]},
    )  # fmt: skip
    return Workplace(cluster, folder, is_real=True)


def poison(folder: Path) -> dict[str, str]:
    """A host environment that would break any stage that saw it."""
    bad = folder / "poison"
    for name in ("torch", "transformers", "sftlib"):
        (bad / name).mkdir(parents=True)
        (bad / name / "__init__.py").write_text("raise ImportError('poison')")
    return {
        "HF_HOME": str(bad), "HF_HUB_CACHE": str(bad), "TRANSFORMERS_CACHE": str(bad), "PYTHONSTARTUP": str(bad),
        "APPTAINERENV_PYTHONPATH": str(bad), "APPTAINER_BIND": "/nowhere", "SINGULARITY_BIND": "/nowhere",
        "SFT_TEST_SECRET_TOKEN": SECRET, "PYTHONPATH_OF_JOBS": str(bad),
    }  # fmt: skip


SECRET = "s3cr3t-that-must-not-be-found"


def test_from_nothing_to_a_report_in_the_image(odd_place: Workplace, tmp_path: Path) -> None:
    place = odd_place
    env = {**place.env, **poison(tmp_path)}
    command = place.command("run", "experiment.json", "--cluster", "slurm", "--wait")
    done = subprocess.run(command, cwd=place.folder, env=env, capture_output=True, text=True, timeout=400)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log + logs_of(place)
    run = place.latest
    summary = json.loads(run.paths.cell("r2").summary.read_text())
    inside = summary["receipt"]["packages"]["torch"]
    assert inside.startswith("2.") and summary["complete"] is True
    machine = summary["receipt"]["machine"]
    assert machine["python"] != sys.version.split()[0] or Path("/opt/sft").exists()
    found = subprocess.run(["grep", "-rl", SECRET, str(run.paths.root)], capture_output=True, text=True)
    assert found.stdout == "", f"the secret is in {found.stdout}"


def logs_of(place: Workplace) -> str:
    """What elements said, for the failing test's message."""
    logs = sorted((place.folder / "runs").glob("*/jobs/attempt-*/*.log"))
    return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in logs)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("container.image=gone.sif", "there is no such image"),
        (f"container.sha256={'f' * 64}", "another image than was asked for"),
        ("container.binds=[/no/such/folder]", "/no/such/folder is not there: make it, or take the bind out"),
    ],
)
def test_what_the_image_lacks_is_refused_at_plan_time(odd_place: Workplace, setting: str, complaint: str) -> None:
    said = odd_place.sft("plan", "experiment.json", "--cluster", "slurm", "--set", setting, expect=2)
    assert complaint in said


def test_an_image_that_changed_after_the_submission_is_refused_on_the_node(odd_place: Workplace) -> None:
    """Verified once a node: the hash goes with the job, not with the file's name."""
    from jobs.container import Container
    from jobs.images import ready_image
    from sftlib.errors import InputError

    image = odd_place.folder / "small.sif"
    image.write_bytes(b"an image")
    container = Container("apptainer", str(image), "0" * 64)
    with pytest.raises(InputError, match="changed after the submission"):
        ready_image(image, container.sha256, str(odd_place.folder))
