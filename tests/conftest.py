"""What tests share: a tiny random model with a real tokenizer that they build themselves (no download), and marks that
must not skip where CI promises the real thing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PROJECT = Path(__file__).resolve().parent.parent
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
    """CI has Slurm and Apptainer, so there a test that would skip for want of them fails; a GPU is nowhere promised."""
    for marker, (programs, remedy) in NEEDS.items():
        if item.get_closest_marker(marker) and (missing := missing_programs(programs)):
            stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            stop(f"needs {', '.join(missing)}; run {remedy}")
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("needs a GPU")


def _has_gpu() -> bool:
    if not shutil.which("nvidia-smi") and not shutil.which("rocm-smi"):
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def project() -> Path:
    return PROJECT


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights and a byte-level tokenizer trained on the bundled posts' words."""
    from tests.tiny import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
