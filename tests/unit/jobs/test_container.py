"""The command line and environment of a stage in an image; a real image: tests/cluster."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from jobs.container import Bind, Container, missing_sources
from jobs.images import ready_image, remembered_sha256
from sftlib.artifacts.hashing import sha256_file
from sftlib.errors import InputError


def test_only_the_allowed_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPTAINERENV_PYTHONPATH", "SINGULARITY_BIND", "APPTAINER_BIND", "LD_PRELOAD", "HF_HOME"):
        monkeypatch.setenv(name, "/poison")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    container = Container("apptainer", "x.sif", "", passed_on=("WANDB_MODE", "NOT_SET"), gpu="none")
    changes = container.environment({"A": "1", "PYTHONHOME": None})
    inside = {name: value for name, value in changes.items() if name.startswith("APPTAINERENV_") and value is not None}
    assert inside == {
        "APPTAINERENV_A": "1", "APPTAINERENV_CUDA_VISIBLE_DEVICES": "1", "APPTAINERENV_WANDB_MODE": "offline",
        **{key: value for key, value in inside.items() if key in ("APPTAINERENV_LANG", "APPTAINERENV_TZ")},
    }  # fmt: skip
    assert all(
        changes[name] is None
        for name in ("APPTAINERENV_PYTHONPATH", "SINGULARITY_BIND", "APPTAINER_BIND", "LD_PRELOAD")
    )
    argv = container.command(["python3", "-m", "sftlib"], Path("x.sif"), "/run")
    assert "--cleanenv" in argv and "--no-home" in argv and argv[-4:] == ["x.sif", "python3", "-m", "sftlib"]
    assert "1" not in argv  # values are in the environment, not in argv


@pytest.mark.parametrize("path", ["/a b/it's", '/a "b"/c', "/a,b:c"])
def test_a_path_of_any_letters_is_one_bind(path: str) -> None:
    (fields,) = csv.reader([Bind(path, path, is_read_only=True).mount()])
    assert fields == ["type=bind", f"source={path}", f"destination={path}", "ro"]


def test_binds_are_read_as_apptainer_writes_them() -> None:
    assert Bind.parse("/data") == Bind("/data", "/data")
    assert Bind.parse("/data:/in:ro") == Bind("/data", "/in", True)
    assert missing_sources([Bind("/", "/"), Bind("/no/such", "/x")]) == ["/no/such"]


def test_an_image_is_hashed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    image = tmp_path / "a.sif"
    image.write_bytes(b"one")
    first = remembered_sha256(image, tmp_path / "memory")
    assert first == sha256_file(image)
    (record,) = (tmp_path / "memory").iterdir()
    record.write_text(record.read_text().replace(first, "f" * 64))
    assert remembered_sha256(image, tmp_path / "memory") == "f" * 64  # remembered, not read again
    image.write_bytes(b"another")
    assert remembered_sha256(image, tmp_path / "memory") == sha256_file(image)


def test_the_image_of_the_submission_or_none(tmp_path: Path) -> None:
    image = tmp_path / "a.sif"
    image.write_bytes(b"one")
    sha256 = sha256_file(image)
    staged = ready_image(image, sha256, str(tmp_path / "scratch"))
    assert staged != image and staged.read_bytes() == b"one" and sha256 in staged.name
    with pytest.raises(InputError, match="changed after the submission"):
        ready_image(image, "f" * 64, str(tmp_path / "other"))
    with pytest.raises(InputError, match="sft container build"):
        ready_image(tmp_path / "gone.sif", sha256, None)
