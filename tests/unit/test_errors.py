"""What a shell and a scheduler learn from an error."""

from __future__ import annotations

import importlib
import re
import tomllib

import pytest

from sftlib import errors
from tests.conftest import PROJECT


def failing(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "by_hand", "in_a_job"),
    [
        (errors.SftError("x"), 1, 1),
        (errors.InputError("x"), 2, 64),
        (errors.DataError("x"), 2, 65),
        (errors.IncompleteError("x"), 3, 3),
        (errors.UnhealthyNodeError("x"), 1, 69),
        (errors.StoppedError("x"), 75, 75),
        (OSError(28, "No space left on device", "/scratch/x"), 1, 1),
    ],
)
def test_exit_codes(error: Exception, by_hand: int, in_a_job: int, monkeypatch, capsys) -> None:
    assert errors.guard(failing(error)) == by_hand
    monkeypatch.setenv(errors.ELEMENT_VARIABLE, "train/main")
    assert errors.guard(failing(error)) == in_a_job
    said = capsys.readouterr().err
    assert said.startswith("sft: ") and "Traceback" not in said


def test_a_package_that_is_not_there_is_named_with_the_remedy(capsys) -> None:
    assert errors.guard(lambda: importlib.import_module("no_such_package_at_all") and 0) == 1
    assert "needs the package no_such_package_at_all" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):  # a fault of our own is not dressed up
        errors.guard(lambda: importlib.import_module("sftlib.no_such_module") and 0)


@pytest.mark.parametrize(
    ("package", "remedy"),
    [("submitit", "install sftlib\n"), ("pyarrow", "'sftlib[evaluate]'"), ("torch", "'sftlib[train]'"),
     ("bitsandbytes", "'sftlib[qlora]'"), ("deepspeed", "'sftlib[deepspeed]'"), ("flash_attn", "install flash_attn\n")],
)  # fmt: skip
def test_the_remedy_names_the_extra_that_brings_the_package(package: str, remedy: str, capsys) -> None:
    errors.guard(failing(ModuleNotFoundError(name=f"{package}.core")))
    assert remedy in capsys.readouterr().err


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, packages in errors.EXTRAS.items():
        names = {re.split(r"[<>=\[]", line)[0].lower().replace("pyyaml", "yaml") for line in declared[extra]}
        assert set(packages) == names - {"sftlib"}, extra


def test_done_is_zero() -> None:
    assert errors.guard(lambda: None) == 0 and errors.guard(lambda: 3) == 3
