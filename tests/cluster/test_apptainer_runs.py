"""Runs on a real Slurm whose stages run in a real Apptainer image, with the real code and a tiny model."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from experiments import PROJECT, Workplace, cluster_section
from real_cluster import Cluster

from tests.posts import write_experiment

pytestmark = [pytest.mark.slurm, pytest.mark.apptainer, pytest.mark.slow]


@pytest.fixture
def odd_place(cluster: Cluster, outputs: Path, tiny_model: Path, cpu_image: Path) -> Workplace:
    """Spaces, quotes, commas in every path, the image's and a bind's of the profile too."""
    folder = outputs / 'it\'s "a", place'
    folder.mkdir()
    shutil.copytree(tiny_model, folder / "the model")
    (folder / "bound, too").mkdir()
    (folder / "image.sif").symlink_to(cpu_image)
    write_experiment(
        folder, "the model",
        name="it's a run", sweep={"grid": {"lora.r": [2]}}, predict={"num_shards": 1, "baseline": False},
        data={"cache": False},
        cluster=cluster_section(environment={"SFT_TEST_TOKEN_HOLDER": "${SFT_TEST_SECRET_TOKEN}"}),
        container={"runtime": "apptainer", "image": "image.sif", "binds": [str(folder / "bound, too")]},
    )  # fmt: skip
    return Workplace(cluster, folder, is_real=True)


SECRET = "s3cr3t-that-must-not-be-found"
SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "SFT_TEST_SECRET_TOKEN")
# Read by every Python that sees this folder: on the submit side it may, in a job it ends the process and leaves a mark.
CATCH = """
import os
if "SLURM_JOB_ID" in os.environ or "APPTAINER_CONTAINER" in os.environ:
    open(os.path.join(os.path.dirname(__file__), "caught"), "a").write(" ".join(os.sys.argv) + "\\n")
    os._exit(97)
"""


def poison(folder: Path) -> dict[str, str]:
    """A host environment that would break, or change, any element that saw it."""
    bad = folder / "poison"
    bad.mkdir()
    (bad / "sitecustomize.py").write_text(CATCH)
    (bad / "startup.py").write_text("raise SystemExit(98)")
    homes = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE", "TORCH_HOME", "XDG_CACHE_HOME")
    return {
        **dict.fromkeys(homes, str(bad)), **{name: f"{SECRET}-{name}" for name in SECRETS},
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{bad}", "PYTHONSTARTUP": str(bad / "startup.py"), "PYTHONUSERBASE": str(bad),
        "APPTAINERENV_PYTHONPATH": str(bad), "APPTAINER_BIND": "/nowhere", "SINGULARITY_BIND": "/nowhere",
        "OMP_NUM_THREADS": "3", "TRANSFORMERS_VERBOSITY": "nonsense", "PYTORCH_DEBUG_MPS_ALLOCATOR": "1",
    }  # fmt: skip


def test_a_poisoned_host_changes_nothing_and_finds_out_nothing(odd_place: Workplace, tmp_path: Path) -> None:
    """From nothing to a report in the image; then the same once more, from a clean host and in another image file."""
    place, image = odd_place, own_copy(odd_place)
    command = place.command("run", "experiment.json", "--cluster", "slurm", "--wait")
    env = {**place.env, **poison(tmp_path)}
    done = subprocess.run(command, cwd=place.folder, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr + logs_of(place)
    assert not (tmp_path / "poison" / "caught").exists()
    run = place.latest
    receipt = json.loads(run.paths.cell("r2").summary.read_text())["receipt"]
    inside = subprocess.run(
        ["apptainer", "exec", image, "python3", "-V"], capture_output=True, text=True
    ).stdout.split()
    assert receipt["machine"]["python"] == inside[1]

    found = subprocess.run(["grep", "-rl", SECRET, place.folder, "--exclude=image.sif"], capture_output=True, text=True)
    assert found.stdout == "", f"the secret is in {found.stdout}"
    assert_nothing_secret(image, env)

    note = tmp_path / "note.json"
    note.write_text('{"another": "image"}')
    subprocess.run(["apptainer", "sif", "add", "--datatype", "6", image, note], check=True, capture_output=True)
    said = place.sft("rerun", "runs/latest", "--verify", "--wait")
    assert "differs        image: sha256 " in said and said.count("image: sha256") == 2, said
    assert "r2  adapter equal bit for bit; 18 predictions equal bit for bit" in said and "verified" in said, said


def assert_nothing_secret(image: Path, env: dict[str, str]) -> None:
    """Neither what the image says of itself nor what a process inside it sees."""
    shown = subprocess.run(
        ["apptainer", "inspect", "--all", image], env=env, capture_output=True, text=True, check=True
    )
    seen = subprocess.run(
        ["apptainer", "exec", "--cleanenv", image, "env"], env={**env, "APPTAINER_BIND": ""}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    for name in SECRETS:
        assert name not in shown.stdout + seen.stdout
    assert SECRET not in shown.stdout + seen.stdout and "PATH=" in seen.stdout


def own_copy(place: Workplace) -> Path:
    """The image as a file that a test may change."""
    image = place.folder / "image.sif"
    original = image.resolve()
    image.unlink()
    return Path(shutil.copy(original, image))


def test_a_secret_in_the_definition_is_found(odd_place: Workplace, tmp_path: Path) -> None:
    image, words = own_copy(odd_place), odd_place.command("container", "verify")
    sound = subprocess.run([*words, "--quick", image], env=odd_place.env, capture_output=True, text=True)
    assert (sound.returncode, json.loads(sound.stdout)["problems"]) == (0, []), sound.stderr
    planted = tmp_path / "planted.def"
    planted.write_text("Bootstrap: docker\n%post\n  pip install --index-url https://me:hunter2@example.org/simple x\n")
    subprocess.run(["apptainer", "sif", "add", "--datatype", "1", image, planted], check=True, capture_output=True)
    found = subprocess.run([*words, "--quick", image], env=odd_place.env, capture_output=True, text=True)
    problems = json.loads(found.stdout)["problems"]
    assert (found.returncode, problems) == (1, ["an address with a password in the image's definition or labels"])
    assert "hunter2" not in found.stdout + found.stderr


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
