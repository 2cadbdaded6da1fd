"""slurm/devcluster: what a developer, CI and our own jobs rely on."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import DEVCLUSTER, Cluster, find_free_port, wait_until

pytestmark = pytest.mark.slurm


def node_states(cluster: Cluster) -> list[str]:
    return cluster.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N=%T").stdout.split()


def test_comes_up_idle_with_gpus_and_both_partitions(cluster: Cluster) -> None:
    wait_until("all idle", lambda: node_states(cluster) == ["node0=idle", "node1=idle", "node2=idle"])
    shown = cluster.devcluster("status").stdout
    assert shown.count("gpu:2") == 3
    partitions = cluster.run("sinfo", "-h", "-o", "%R %l").stdout.splitlines()
    assert sorted(partitions) == ["main 1-00:00:00", "urgent 1-00:00:00"]


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    before = (cluster.base / "run" / "slurmctld.pid").read_text()
    assert "already up" in cluster.devcluster("up").stdout
    assert (cluster.base / "run" / "slurmctld.pid").read_text() == before


def test_env_is_for_eval(cluster: Cluster) -> None:
    line = cluster.devcluster("env").stdout
    shown = subprocess.run(
        ["bash", "-c", line + 'echo "$SLURM_CONF"'], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == str(cluster.base / "etc" / "slurm.conf")


def test_an_array_runs_over_the_nodes_with_its_own_gpus(cluster: Cluster, outputs: Path) -> None:
    job = cluster.submit(
        f'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >"{outputs}/$SLURM_ARRAY_TASK_ID"; sleep 1',
        *("--array=0-2", "--gpus-per-node=2", "--output=/dev/null"),
    )
    wait_until("the array is done", lambda: cluster.states(job) == ["COMPLETED"] * 3)
    seen = {(outputs / str(index)).read_text().strip() for index in range(3)}
    assert seen == {"node0 0,1", "node1 0,1", "node2 0,1"}


def test_a_step_spans_nodes(cluster: Cluster) -> None:
    shown = cluster.run("srun", "-N3", "--ntasks-per-node=2", "--mem=50", "printenv", "SLURMD_NODENAME").stdout
    assert sorted(shown.split()) == ["node0"] * 2 + ["node1"] * 2 + ["node2"] * 2


def test_urgent_preempts_main_by_requeueing_it(cluster: Cluster, outputs: Path) -> None:
    job = cluster.submit(
        f'echo "${{SLURM_RESTART_COUNT:-0}}" >>"{outputs}/starts"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 120',
        *("--nodes=3", "--exclusive", "--output=/dev/null"),
    )
    wait_until("main runs", (outputs / "starts").exists)
    cluster.run("srun", "-p", "urgent", "-N3", "--mem=50", "true")
    wait_until("the preempted job is done", lambda: cluster.states(job) == ["COMPLETED"])
    assert (outputs / "starts").read_text().split() == ["0", "1"]


def test_the_job_of_a_dead_node_finishes_elsewhere(cluster: Cluster, outputs: Path) -> None:
    job = cluster.submit(
        f'echo "$SLURMD_NODENAME" >>"{outputs}/nodes"; echo $$ >"{outputs}/pid"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 120',
        *("--exclusive", "--output=/dev/null"),
    )
    wait_until("it runs", lambda: (outputs / "pid").exists() and (outputs / "pid").read_text())
    node = (outputs / "nodes").read_text().strip()
    pid = int((outputs / "pid").read_text())
    assert f"killed {node}" in cluster.devcluster("kill-node", node, "--now").stdout
    assert not is_alive(pid)
    assert cluster.devcluster("status", check=False).returncode == 1
    wait_until("it is done", lambda: cluster.states(job) == ["COMPLETED"])
    assert len(set((outputs / "nodes").read_text().split())) == 2
    cluster.devcluster("start-node", node)
    wait_until("the node is back", lambda: f"{node}=idle" in node_states(cluster))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_restarted_controller_knows_its_jobs(cluster: Cluster, outputs: Path) -> None:
    job = cluster.submit(
        f'touch "{outputs}/runs"; while [ ! -e "{outputs}/go" ]; do sleep 0.1; done', "--output=/dev/null"
    )
    wait_until("it runs", (outputs / "runs").exists)
    cluster.devcluster("restart-controller")
    assert cluster.states(job) == ["RUNNING"]
    (outputs / "go").touch()
    wait_until("it is done", lambda: cluster.states(job) == ["COMPLETED"])
    assert cluster.field(job, "Restarts") == "0"


@pytest.fixture
def ordinary_user() -> Iterator[str | None]:
    """Root makes a user for the test; anyone else is one."""
    if os.getuid():
        yield None
        return
    name = f"sft-test-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/bash", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True)


def test_an_ordinary_user_brings_up_one_more(cluster: Cluster, ordinary_user: str | None) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sft-user-"))
    shutil.copytree(DEVCLUSTER.parent, folder / "slurm")  # the checkout may lie where that user cannot look
    folder.chmod(0o755)
    uid = pwd.getpwnam(ordinary_user).pw_uid if ordinary_user else os.getuid()
    (folder / "own").mkdir()
    os.chown(folder / "own", uid, -1)
    theirs = Cluster(folder / "own" / "dev", user=ordinary_user, script=folder / "slurm" / "devcluster")
    try:
        theirs.devcluster("up", "--nodes=2", f"--port={find_free_port()}")
        assert theirs.run("srun", "-N2", "--mem=50", "id", "-u").stdout.split() == [str(uid)] * 2
        said = theirs.devcluster("down").stdout
        assert all(daemon in said for daemon in ("slurmctld", "slurmd-node0", "slurmd-node1", "munged"))
        assert "nothing is running" in theirs.devcluster("down").stdout
        assert theirs.devcluster("status", check=False).returncode == 3
    finally:
        theirs.devcluster("down")
        shutil.rmtree(folder)
    assert len(node_states(cluster)) == 3  # the other cluster did not notice


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["up", "--base", "/tmp/a,b"], "cannot hold"),
        (["up", "--base", "/tmp/" + "x" * 70], "shorter"),
        (["up", "--base", "/tmp"], "something else"),
        (["up", "--nodes", "none"], "expected a whole number of at least 1"),
        (["restart"], "restart-controller"),
    ],
)
def test_refuses_with_a_remedy(options: list[str], complaint: str) -> None:
    refused = subprocess.run([DEVCLUSTER, *options], capture_output=True, text=True)
    assert refused.returncode == 2
    assert complaint in refused.stderr


def test_refuses_a_port_in_use_and_an_unknown_node(cluster: Cluster) -> None:
    port = cluster.run("scontrol", "show", "config").stdout.partition("SlurmctldPort")[2].split()[1]
    with tempfile.TemporaryDirectory() as folder:
        refused = subprocess.run(
            [DEVCLUSTER, "up", f"--base={folder}", f"--port={port}"], capture_output=True, text=True
        )
    assert (refused.returncode, "give --port" in refused.stderr) == (2, True)
    assert "there are: node0 node1 node2" in cluster.devcluster("kill-node", "node7", check=False).stderr


def test_accounting_remembers_what_the_controller_forgets() -> None:
    with tempfile.TemporaryDirectory(prefix="sft acct-") as folder:
        kept = Cluster(Path(folder) / "dev")
        try:
            kept.devcluster("up", "--accounting", "--nodes=1", "--gpus=a100:2", f"--port={find_free_port()}")
            job = kept.submit("exit 7", "--gpus-per-node=a100:1", "--output=/dev/null")
            columns = (
                "--format=State,ExitCode,AllocTRES%80",
                "--parsable2",
                "--noheader",
                "--allocations",
                "--jobs",
                job,
            )
            wait_until("it is in the books", lambda: "FAILED|7:0" in kept.run("sacct", *columns).stdout)
            assert "gres/gpu=1" in kept.run("sacct", *columns).stdout
        finally:
            kept.devcluster("down")
