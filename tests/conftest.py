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
NEEDS = {"slurm": "sbatch", "apptainer": "apptainer"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark, command in NEEDS.items():
            if item.get_closest_marker(mark) and not shutil.which(command) and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason=f"needs {command}"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


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
