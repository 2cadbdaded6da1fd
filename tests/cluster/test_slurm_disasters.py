"""What clusters do to jobs: nodes die, the controller restarts, time and memory run out, limits bind, users are not root."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from experiments import PROJECT, SMALL, Workplace, cluster_section
from real_cluster import Cluster, find_free_port, wait_until

pytestmark = pytest.mark.slurm


@pytest.fixture
def place(cluster: Cluster, outputs: Path) -> Workplace:
    return Workplace(cluster, outputs)


def has_ended(place: Workplace, element: str = "merge") -> bool:
    return (place.latest.paths.attempt(1) / f"{element.replace('/', '.')}.ending.json").exists()


def nodes_of(place: Workplace, element: str) -> list[str]:
    return [event["node"] for event in place.trace() if event["element"] == element and event["event"] == "start"]


def test_the_element_of_a_dead_node_finishes_elsewhere(place: Workplace) -> None:
    place.write(predict={"num_shards": 1, "baseline": False})
    place.behave(train__main={"sleep_once": 100})
    place.run("--set", "cluster.exclusive=true")
    wait_until("it runs", lambda: nodes_of(place, "train/main"))
    (node,) = nodes_of(place, "train/main")
    place.cluster.devcluster("kill-node", node, "--now")
    try:
        wait_until("it is over", lambda: has_ended(place), timeout_s=90)
    finally:
        place.cluster.devcluster("start-node", node)
    first, second = nodes_of(place, "train/main")
    assert first == node != second
    assert place.starts()["merge"] == 1


def test_a_controller_that_restarts_in_the_middle_loses_nothing(place: Workplace) -> None:
    place.write()
    place.behave(train__main={"sleep": 6})
    driver = subprocess.Popen(
        place.command("run", "experiment.json", "--cluster", "slurm", "--wait"), cwd=place.folder, env=place.env,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_until("it runs", lambda: (place.folder / "runs" / "latest").exists() and nodes_of(place, "train/main"))
    place.cluster.devcluster("restart-controller")
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert set(place.starts().values()) == {1}


@pytest.mark.slow
def test_the_walltime_is_met_with_a_checkpoint_and_another_start(place: Workplace) -> None:
    """Slurm's own signal before its own limit; the element alone is requeued, and goes on."""
    limited = {**SMALL, "time_min": 2}
    place.write(predict={"num_shards": 1, "baseline": False}, cluster=cluster_section(train=limited))
    place.behave(train__main={"sleep_once": 300})
    place.run()
    wait_until("it is over", lambda: has_ended(place), timeout_s=200)
    ended = [event["event"] for event in place.trace() if event["element"] == "train/main"]
    assert ended == ["start", "exit 75", "start", "exit 0"]
    use = (place.latest.paths.attempt(1) / "train.main.use.jsonl").read_text().splitlines()
    assert [json.loads(line)["exit_code"] for line in use] == [75, 0]


@pytest.fixture(scope="module")
def strict_cluster() -> Iterator[Cluster]:
    """Small arrays, few jobs in the queue, and memory that is watched."""
    folder = Path(tempfile.mkdtemp(prefix="sft-strict-"))
    folder.chmod(0o755)
    cluster = Cluster(folder / "dev")
    try:
        cluster.devcluster(
            "up", "--nodes=2", "--max-array-size=6", "--enforce-memory", f"--port={find_free_port()}"
        )  # fmt: skip
        yield cluster
    finally:
        cluster.devcluster("down")
        shutil.rmtree(folder)


@pytest.mark.slow
def test_limits(strict_cluster: Cluster, tmp_path: Path) -> None:
    """14 elements where an array holds 6 and the queue 10: in as few arrays as can be, each once."""
    place = Workplace(strict_cluster, tmp_path)
    limits = {"max_array_size": 6, "max_submit": 10}
    place.write(predict={"num_shards": 12, "shards_per_job": 1, "baseline": False}, cluster=cluster_section(**limits))
    said = place.run("--wait")
    assert "waiting        cluster.max_submit is 10" in said
    journal = [
        json.loads(line) for line in (place.latest.paths.attempt(1) / "submission.jsonl").read_text().splitlines()
    ]
    sizes = [len(event["elements"]) for event in journal if event["event"] == "intended"]
    assert sizes == [1, 6, 6, 1]
    assert len(place.starts()) == 14 and set(place.starts().values()) == {1}


@pytest.mark.slow
def test_what_runs_out_is_named(strict_cluster: Cluster, tmp_path: Path) -> None:
    """Memory and walltime, each without a word of the stage: the status names what to raise."""
    for name in ("late", "greedy"):
        (tmp_path / name).mkdir()
    late, greedy = Workplace(strict_cluster, tmp_path / "late"), Workplace(strict_cluster, tmp_path / "greedy")
    late.write(cluster=cluster_section(train={**SMALL, "time_min": 1}))
    late.behave(train__main={"sleep": 300, "deaf": True})
    late.run()
    wait_until("it runs", lambda: nodes_of(late, "train/main"))
    # Slurm's limits are whole minutes: the end of this one is moved near.
    strict_cluster.run("scontrol", "update", f"JobId={late.job_of('train/main')}", "EndTime=now+5seconds")
    greedy.write()
    greedy.behave(train__main={"allocate_mb": 1800, "sleep": 60})
    said = greedy.run("--wait", expect=3, timeout_s=200)
    assert "train/main failed: out of memory" in said and "cluster.train.memory_gb (now 1)" in said, said
    assert "out of memory" in note(greedy, "train/main")
    wait_until("the time is over", lambda: has_ended(late, "merge"), timeout_s=150)
    late.latest.paths.queue.unlink(missing_ok=True)
    assert note(late, "train/main") == "walltime of 1 min reached; raise cluster.train.time_min"


def note(place: Workplace, element: str) -> str:
    status = json.loads(place.sft("status", "runs/latest", "--json"))
    return next(row["note"] for row in status["rows"] if row["element"] == element)


SUBMIT_SIDE = ("annotated_types", "cloudpickle", "pydantic", "pydantic_core", "submitit", "typing_extensions.py",
               "typing_inspection", "yaml")  # fmt: skip


@pytest.fixture
def users_python(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """An ordinary user, a folder of theirs, and a Python with what a login node has; root's may be closed to them."""
    system = Path("/usr/bin/python3")
    if os.getuid() != 0 or not system.exists() or f"{sys.version_info[0]}.{sys.version_info[1]}" not in version(system):
        pytest.skip("needs root to make a user, and the system's Python in our version")
    name, folder = f"sft-user-{os.getpid()}", Path(tempfile.mkdtemp(prefix="sft-user-"))
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/bash", name], check=True)
    try:
        subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        import pydantic

        for package in SUBMIT_SIDE:
            source = Path(pydantic.__file__).parents[1] / package
            (shutil.copytree if source.is_dir() else shutil.copy)(source, site / package)
        for part in ("jobs", "sftlib", "slurm", "configs", "tests"):
            shutil.copytree(PROJECT / part, folder / "code" / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "home").mkdir()
        subprocess.run(["chown", "-R", name, folder], check=True)
        folder.chmod(0o755)
        yield name, folder / "home", folder
    finally:
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(folder)


def version(python: Path) -> str:
    return subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout


def test_an_ordinary_user_runs_an_experiment(cluster: Cluster, users_python: tuple[str, Path, Path]) -> None:
    user, home, folder = users_python
    Workplace(cluster, home).write(data={"train": "train.jsonl", "test": "test.jsonl", "cache": False})
    subprocess.run(["chown", "-R", user, home], check=True)
    program = folder / "code" / "tests" / "cluster" / "stand_in_sft.py"
    words = [folder / "venv/bin/python", program, "run", "experiment.json", "--cluster", "slurm", "--wait"]
    place = Workplace(cluster, home)
    assert place.env
    subprocess.run(["chown", "-R", user, home], check=True)
    env = {
        "HF_HUB_CACHE": place.env["HF_HUB_CACHE"], "PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "code"), "HOME": str(home),
        "SFTLIB_CACHE": str(home / "cache"), "SLURM_CONF": str(cluster.base / "etc" / "slurm.conf"),
    }  # fmt: skip
    done = subprocess.run(
        ["runuser", "-u", user, "--", *map(str, words)], cwd=home, env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (home / "runs/latest/report/report.html").owner() == user
