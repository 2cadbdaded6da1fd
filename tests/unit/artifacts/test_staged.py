"""Manifests of what was staged: they hold until a file goes, grows, or changes under the same size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftlib.artifacts import staged
from sftlib.artifacts.staged import MODEL, manifest_path, read_staged_manifest, record_staged, staged_faults


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFTLIB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "snapshots" / "c0ffee"
    (folder / "nested").mkdir(parents=True)
    (tmp_path / "blob").write_text("weights")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")  # as the Hub library lays them
    (folder / "nested" / "config.json").write_text("{}")
    return folder


def test_a_manifest_names_every_file(folder: Path) -> None:
    path = record_staged(MODEL, "org/model", None, folder, "c0ffee")
    assert path == manifest_path(MODEL, "org/model", None) != manifest_path(MODEL, "org/model", "v2")
    found = read_staged_manifest(path)
    assert (found.name, found.commit, [file.name for file in found.files]) == (
        "org/model", "c0ffee", ["model.safetensors", "nested/config.json"],
    )  # fmt: skip
    assert [file.bytes for file in found.files] == [7, 2]
    assert list(staged_faults(path)) == []


def test_what_changed_is_named_with_what_was_expected(folder: Path, tmp_path: Path) -> None:
    path = record_staged(MODEL, "org/model", None, folder)
    (tmp_path / "blob").write_text("WEIGHTS")
    os.utime(tmp_path / "blob", (1e9, 1e9))
    (fault,) = staged_faults(path)
    assert fault.startswith(f"model org/model: {folder / 'model.safetensors'} has sha256 ") and "sft stage" in fault
    (tmp_path / "blob").write_text("more weights")
    assert "has 12 bytes, staged were 7" in next(staged_faults(path))
    (folder / "nested" / "config.json").unlink()
    assert "cannot be read (No such file or directory)" in list(staged_faults(path))[1]
    path.write_text("{")
    assert "cannot be read" in next(staged_faults(path))
    path.unlink()
    assert "is the cache mounted here?" in next(staged_faults(path))


def test_a_file_that_was_only_touched_or_copied_holds(folder: Path, tmp_path: Path) -> None:
    path = record_staged(MODEL, "org/model", None, folder)
    os.utime(tmp_path / "blob", ns=(1, 1))
    assert list(staged_faults(path)) == []


def test_files_that_are_known_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_staged(MODEL, "org/model", None, folder)
    read: list[Path] = []
    hash_file = staged.sha256_file
    monkeypatch.setattr(staged, "sha256_file", lambda path: read.append(path) or hash_file(path))
    (folder / "new.json").write_text("[]")
    path = record_staged(MODEL, "org/model", None, folder)
    assert [file.name for file in read] == ["new.json"] and len(read_staged_manifest(path).files) == 3
    assert list(staged_faults(path)) == []
