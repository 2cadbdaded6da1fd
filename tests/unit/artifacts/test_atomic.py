"""Whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sftlib.artifacts.atomic import append_line, replacing, replacing_dir, write_json


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "value.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_readable_by_the_group_as_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", 1)
        with replacing_dir(tmp_path / "d") as folder:
            (folder / "x").write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o750


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    for content in ("one", "two"):
        with replacing_dir(target) as folder:
            (folder / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    with pytest.raises(RuntimeError), replacing_dir(target) as folder:
        (folder / "three").write_text("3")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert [path.name for path in target.iterdir()] == ["two"]


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_temporary_names_match_no_reader_glob(tmp_path: Path) -> None:
    with replacing(tmp_path / "part-0.parquet"):
        assert not list(tmp_path.glob("*.parquet"))
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_kill_in_the_middle_never_shows_half_a_file(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sftlib.artifacts.atomic import write_text\n"
        "for i in range(10**9): write_text(Path(sys.argv[1]), str(i) * 20000 + '.')"
    )
    target = tmp_path / "big.txt"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", script, str(target)])
        while not target.exists():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert target.read_text().endswith(".")


def test_lines_are_appended_one_by_one(tmp_path: Path) -> None:
    for number in range(3):
        append_line(tmp_path / "m.jsonl", str(number))
    assert (tmp_path / "m.jsonl").read_text() == "0\n1\n2\n"
