"""The examples of docs/data.md do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from sftlib.__main__ import main
from sftlib.config.inputs import read_split
from sftlib.config.references import strategy_names
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer
from sftlib.data.samples import samples_of
from sftlib.data.templates import TemplateRegistry
from tests.conftest import PROJECT
from tests.tiny import build_tokenizer

PAGE = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)(?: (\S+))?\n(.*?)```", PAGE, re.DOTALL)
RECORDS = [(name, text) for kind, name, text in BLOCKS if kind == "json" and name != "strategies"]


@pytest.mark.parametrize(("name", "text"), RECORDS, ids=[name for name, _ in RECORDS])
def test_records(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(text)
    task = {"type": "classification", "labels": ["hate", "normal"]} if name == "labelled" else {}
    config = SFTConfig.model_validate({"data": {"train": str(tmp_path / "train.jsonl")}, "task": task})
    split = read_split(config, "train")
    (row,) = Renderer(config, build_tokenizer()).rows(samples_of(split, config))
    assert split.format == name and row.ids


def test_settings() -> None:
    pages = [yaml.safe_load(text) for kind, _, text in BLOCKS if kind == "yaml"]
    assert len(pages) >= 5 and all(SFTConfig.model_validate(page) for page in pages)


def test_own_function(tmp_path: Path) -> None:
    (code,) = [text for kind, name, text in BLOCKS if name == "formatting.py"]
    (tmp_path / "formatting.py").write_text(code)
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "Capital?", "answers": ["Paris."]}))
    data = {"train": str(tmp_path / "train.jsonl"), "formatting_func": f"{tmp_path}/formatting.py:as_messages"}
    config = SFTConfig.model_validate({"data": data})
    assert samples_of(read_split(config, "train"), config)[0].target == "Paris."


def test_strategies(tmp_path: Path) -> None:
    (text,) = [text for _, name, text in BLOCKS if name == "strategies"]
    (tmp_path / "mine.json").write_text(text)
    assert strategy_names(tmp_path / "mine.json") == ["short"]


def test_commands_print_what_the_page_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    for kind, _, text in BLOCKS:
        if kind == "sh":
            assert main(shlex.split(text.replace("OUT", str(tmp_path / "out")))[1:]) == 0
    shown = re.findall(r"^    (\w+ .*read, .*)$", PAGE, re.MULTILINE)
    printed = capsys.readouterr().out
    assert len(shown) == 3 and all(line in printed for line in shown)


def test_every_template_has_its_row() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Templates")[2].partition("- Training")[0], re.MULTILINE)) == set(TemplateRegistry.names())  # fmt: skip
