"""A real Slurm for the tests of this folder: one devcluster of three nodes a session, under a path that holds a space."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import Cluster, find_free_port

PROJECT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def cpu_image() -> Path:
    """The image that `make image` builds, or $SFT_CPU_IMAGE names."""
    image = Path(os.environ.get("SFT_CPU_IMAGE") or PROJECT / ".cache" / "images" / "sft-cpu.sif")
    if not image.exists():
        stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        stop(f"{image} is not there: make image")
    return image
