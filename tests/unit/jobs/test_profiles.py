"""Every profile that we ship is valid, and says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlib.config.load import load_experiment
from sftlib.config.yamlfile import read_document
from tests.conftest import PROJECT

PROFILES = sorted((PROJECT / "slurm" / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profile_is_valid(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image.sif"
    image.touch()
    monkeypatch.setenv("SFT_IMAGE", str(image))
    demo = PROJECT / "configs" / "experiments" / "demo_cpu.yaml"
    config = load_experiment(demo, [], path.stem).config
    assert config.cluster.profile == path.stem and read_document(path).values["description"]
