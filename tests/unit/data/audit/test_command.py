"""`sft audit` as a person calls it: table, JSON, exit codes, --show, and data that a run would refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftlib.__main__ import main
from sftlib.data.audit.findings import KINDS
from sftlib.data.audit.showing import CLOSE, OPEN
from tests import flawed
from tests.conftest import PROJECT
from tests.posts import write_experiment


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return folder


def test_table_json_and_exit_code(tmp_path: Path, capsys) -> None:
    files = flawed.write_flawed(tmp_path)
    words = ["audit", str(files["train"]), "--test", str(files["test"]), "--prompts", str(files["strategy"])]
    assert main(words) == 2
    printed = capsys.readouterr().out
    assert "target format gives the label away" in printed and "remedy" in printed and "\033" not in printed
    assert "task.json_key" in printed  # what was guessed is said
    assert main([*words, "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    assert record["errors"] == sum(finding["level"] == "error" for finding in record["findings"]) > 0
    accept = [
        word for finding in record["findings"] if finding["level"] == "error" for word in ("--accept", finding["kind"])
    ]
    assert main([*words, "--json", *accept]) == 0
    assert {f["kind"] for f in json.loads(capsys.readouterr().out)["findings"] if f["accepted"]} == {*accept[1::2]}


def test_clean_data_exit_0(tmp_path: Path, capsys) -> None:
    flawed.write_clean(tmp_path)
    assert main(["audit", str(tmp_path)]) == 0  # a folder: the names say which split is which
    printed = capsys.readouterr().out
    assert "no errors, no warnings" in printed and "validation" in printed and "target_group_norm=north" in printed


def test_records_that_a_run_would_refuse_are_counted(tmp_path: Path, capsys) -> None:
    records = flawed.clean_split("train", 200, 1)
    records[3]["text"], records[90]["text"], records[50]["label_binary"] = "  ", None, "hatred"
    path = flawed.write(tmp_path / "train.jsonl", records)
    words = ["audit", str(path), "--set", "task.labels=[hate, normal]", "--set", "task.type=classification", "--json"]
    assert main(words) == 2
    record = json.loads(capsys.readouterr().out)
    found = {finding["kind"]: finding for finding in record["findings"]}
    assert found["empty"]["count"] == 2 and [place.rpartition(":")[2] for place in found["empty"]["places"]] == [
        "4",
        "91",
    ]
    assert found["unreadable"]["count"] == 1 and "'hatred'" in found["unreadable"]["sentence"]
    assert record["splits"]["train"]["records"] == 197


def test_a_setting_without_a_value_is_refused(tmp_path: Path, capsys) -> None:
    path = flawed.write_clean(tmp_path)["train"]
    for item in ("data.label_column", "=gold"):
        assert main(["audit", str(path), "--set", item]) == 2
        assert f"expected KEY=VALUE, such as train.learning_rate=1e-4, got {item!r}" in capsys.readouterr().err


def test_a_line_that_is_no_json_is_a_finding_and_a_broken_file_an_error(tmp_path: Path, capsys) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n{"text": \n{"text": "c", "label": "b"}\n')
    assert main(["audit", str(path), "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    finding = next(finding for finding in record["findings"] if finding["kind"] == "unreadable")
    assert (finding["count"], finding["of"], finding["places"]) == (1, 3, [f"{path}:2"])
    path = tmp_path / "train.json"
    path.write_text('[{"text": "a", "label": "b"}, ')
    assert main(["audit", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_part_of_train_is_audited_as_it_is_split_off(tmp_path: Path, capsys) -> None:
    path = flawed.write_clean(tmp_path, train=200)["train"]
    assert main(["audit", str(path), "--set", "data.validation_size=40", "--set", "data.test_size=60", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [part["records"] for part in record["splits"].values()] == [100, 40, 60]
    assert not record["findings"]  # their split field says train, as it should


def test_faulty_records_that_are_left_out_on_request_are_a_warning(tmp_path: Path, capsys) -> None:
    records = flawed.clean_split("train", 60, 1)
    records[3]["text"] = ""
    path = flawed.write(tmp_path / "train.jsonl", records)
    assert main(["audit", str(path), "--set", "data.faulty=drop", "--json"]) == 0
    finding = json.loads(capsys.readouterr().out)["findings"][0]
    assert (finding["kind"], finding["level"], finding["count"]) == ("empty", "warning", 1)


def test_show_marks_what_is_supervised(tmp_path: Path, tokenizer: Path, capsys) -> None:
    path = write_experiment(tmp_path, tokenizer)
    assert main(["audit", str(path), "--show", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("record 2  id p1") and "\033" not in printed
    supervised = printed[printed.index(OPEN) + 1 : printed.index(CLOSE)]
    assert supervised.replace("·", "") == "normal<|im_end|>" and printed.count(OPEN) == 1
    before = printed[: printed.index(OPEN)].replace("·", "")
    assert "<|im_start|>user\nthe people of south are welcome number 1<|im_end|>" in before
    assert main(["audit", str(path), "--show", "p1"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["audit", str(path), "--show", "99"]) == 2
    assert "records 1 to 24" in capsys.readouterr().err


def test_every_kind_is_on_the_page_of_the_manual() -> None:
    page = (PROJECT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert not [kind for kind in KINDS if f"`{kind}`" not in page]


def test_kinds_that_can_be_accepted_exist() -> None:
    from typing import get_args

    from sftlib.config.data import AuditError

    assert set(get_args(AuditError)) <= set(KINDS)
