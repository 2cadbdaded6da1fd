"""A real Slurm for the tests of this folder: one devcluster of three nodes a session, under a path that holds a space."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import Cluster, find_free_port

# marker: (the programs it means, what installs them)
NEEDS = {
    "slurm": (("slurmctld", "slurmd", "munged", "sbatch"), "slurm/devcluster install"),
    "apptainer": (("apptainer",), "containers/install-apptainer.sh"),
}


def missing_programs(programs: tuple[str, ...]) -> list[str]:
    search = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    return [program for program in programs if not shutil.which(program, path=search)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI has Slurm and Apptainer, so there a test that would skip for want of them fails."""
    for marker, (programs, remedy) in NEEDS.items():
        if item.get_closest_marker(marker) and (missing := missing_programs(programs)):
            stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            stop(f"needs {', '.join(missing)}; run {remedy}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Nodes node0, node1 and node2 with 4 CPUs, 4000 MB and 2 virtual GPUs each."""
    folder = Path(tempfile.mkdtemp(prefix="sft-cluster-"))
    folder.chmod(0o755)  # jobs of other users read their scripts from here
    cluster = Cluster(folder / "dev cluster")
    try:
        cluster.devcluster("up", "--nodes", "3", "--grace", "3", "--port", str(find_free_port()))
        yield cluster
    finally:
        cluster.devcluster("down")
        shutil.rmtree(folder)


@pytest.fixture
def outputs(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder that every node and user can write to."""
    folder = Path(tempfile.mkdtemp(prefix=f"{request.node.name[:20]}-", dir=cluster.base.parent))
    folder.chmod(0o1777)
    yield folder
