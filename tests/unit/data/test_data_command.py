"""`sft data`: what a person and a script see of the token cache; `sft data build` as the element `prepare`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftlib.__main__ import main
from sftlib.artifacts.tokencache import all_entries
from sftlib.errors import ELEMENT_VARIABLE
from sftlib.paths import RunPaths, token_cache
from tests.posts import write_experiment


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTLIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def experiment(tiny_model: Path, tmp_path: Path) -> Path:
    """Three cells; two of them tokenise alike."""
    sweep = {"list": [{"id": "a", "lora.r": 4}, {"id": "b", "lora.r": 8}, {"id": "c", "train.max_length": 200}]}
    return write_experiment(tmp_path / "one", tiny_model, sweep=sweep)


@pytest.fixture
def sft(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: object) -> tuple[int, str]:
        code = main(["data", *map(str, words)])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def data(sft) -> Callable[..., Any]:
    """The same with --json."""

    def run(*words: object) -> Any:
        code, printed = sft(*words, "--json")
        assert code == 0
        return json.loads(printed)

    return run


def build(experiment: Path) -> list[object]:
    return ["build", experiment, "--runs-dir", experiment.parent / "runs"]


def test_build_tokenises_once_for_cells_that_tokenise_alike(experiment: Path, sft, data) -> None:
    built = data(*build(experiment))
    assert [item["rows"] for item in built] == [24, 24] and len({item["key"] for item in built}) == 2
    assert {folder.root.name for folder, _ in all_entries()} == {item["key"] for item in built}
    again = data(*build(experiment))
    assert [item["key"] for item in again] == [item["key"] for item in built]
    code, printed = sft()
    assert code == 0 and "train.jsonl (train)" in printed and "2 entries" in printed and built[0]["key"][:8] in printed
    shown = data("show", built[0]["key"][:6])
    assert shown["records"] == 24 and shown["tokens"] == built[0]["tokens"] and shown["template"] == "tokenizer"


def test_what_was_built_is_what_a_training_reads(experiment: Path, data, capsys: pytest.CaptureFixture[str]) -> None:
    from sftlib.config.load import load_experiment
    from sftlib.config.rundir import open_run

    data(*build(experiment))
    (root,) = (experiment.parent / "runs").glob("tiny-*")
    config = open_run(root).cell_config("c")
    capsys.readouterr()
    from sftlib.data.processing import SFTDatasetProcessor
    from sftlib.models.loading import load_tokenizer

    rows = SFTDatasetProcessor(config, load_tokenizer(config)).rows("train")
    assert len(rows) == 24 and "tokenised" not in capsys.readouterr().err
    assert load_experiment(experiment, [], "local").cells


def test_the_element_says_how_far_it_is(experiment: Path, sft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ELEMENT_VARIABLE, "prepare")
    assert sft(*build(experiment))[0] == 0
    (root,) = (experiment.parent / "runs").glob("tiny-*")
    said = json.loads(RunPaths(root).element_progress("prepare").read_text())
    assert (said["state"], said["kind"], said["done"], said["total"], said["unit"]) == (
        "done",
        "prepare",
        48,
        48,
        "records",
    )


def test_changed_data_stop_the_element_before_any_training(experiment: Path, sft, capsys) -> None:
    assert sft(*build(experiment))[0] == 0
    (root,) = (experiment.parent / "runs").glob("tiny-*")
    posts = experiment.parent / "train.jsonl"
    posts.write_text(posts.read_text().replace("number 3", "number three"))
    assert main(["data", "build", str(root)]) == 2
    assert "train.jsonl was changed after the run was planned" in capsys.readouterr().err


def test_verify_names_what_is_damaged_and_clean_removes_it(experiment: Path, sft, data) -> None:
    data(*build(experiment))
    assert sft("verify") == (0, "2 of 2 entries whole\n")
    folder = next(iter(all_entries()))[0]
    content = bytearray(folder.ids.read_bytes())
    content[5] ^= 4
    folder.ids.write_bytes(content)
    code, printed = sft("verify")
    assert (
        code == 1 and f"{folder.root.name}: {folder.ids} has another sha256" in printed and "1 of 2 entries" in printed
    )
    folder.ids.write_bytes(content[:-1])
    assert "DAMAGED" in sft()[1]
    assert data("clean", "--damaged")["removed"] == [folder.root.name]
    assert data()["entries"][0]["fault"] is None and len(data()["entries"]) == 1


def test_clean_by_age_by_key_and_all(experiment: Path, sft, data) -> None:
    first, second = (item["key"] for item in data(*build(experiment)))
    then = time.time() - 40 * 86400
    os.utime(token_cache() / first / "entry.json", (then, then))
    assert data("clean", "--unused-for", "30d", "--dry-run")["removed"] == [first]
    assert (token_cache() / first).exists()
    assert data("clean", "--unused-for", "30d")["removed"] == [first]
    kept = data("clean", "--all")
    assert kept["removed"] == [] and kept["kept"] == [second], "read within the hour: a job may be at it"
    assert data("clean", second[:8], "--force")["removed"] == [second]
    assert data()["entries"] == [] and "empty" in sft()[1]


def test_clean_takes_what_killed_builders_left(sft, data) -> None:
    left = token_cache() / ".0123.gone-host.77.abc.tmp"
    left.mkdir(parents=True)
    (left / "ids.int32").write_bytes(b"1234")
    for path in (left / "ids.int32", left):
        os.utime(path, (0, 0))
    assert "1 leftover of killed builders" in sft()[1]
    assert data("clean")["leftovers"] == 1 and not left.exists()


def test_wrong_words_are_refused_with_a_remedy(experiment: Path, sft, capsys) -> None:
    for words, told in (
        (["show", "beef"], "has no entry 'beef': `sft data` lists them"),
        (["clean", "--unused-for", "month"], "expected a number and m, h or d, such as 30d"),
        (
            [*build(experiment), "--set", "train.max_length=20"],
            "24 of 24 records are longer than train.max_length = 20",
        ),
    ):
        assert main(["data", *map(str, words)]) == 2
        assert told in capsys.readouterr().err


def test_the_list_needs_no_heavy_package() -> None:
    code = "import sys; from sftlib.__main__ import main; main(['data']); sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
