"""The audit on data like that of the record to beat: each of its faults is found, and none where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sftlib.data.audit.audit import audit
from sftlib.data.audit.prompts import prompt_file
from sftlib.data.audit.subject import data_subject, experiment_subject
from tests import flawed
from tests.conftest import PROJECT

FAULTS = {
    "unparsable_target", "giveaway", "duplicate", "conflict", "leakage", "near_leakage", "split_field", "prompt_mismatch",
}  # fmt: skip


def found(record: dict[str, Any], kind: str, split: str | None = None) -> dict[str, Any]:
    matches = [f for f in record["findings"] if f["kind"] == kind and split in (None, f["split"])]
    assert matches, f"{kind} {split} is not among {[(f['kind'], f['split']) for f in record['findings']]}"
    return matches[0]


def kinds(record: dict[str, Any]) -> set[str]:
    return {finding["kind"] for finding in record["findings"]}


def audited(files: dict[str, Path], **settings: Any) -> dict[str, Any]:
    others = {name: files[name] for name in ("validation", "test")}
    prompts = prompt_file(files["strategy"], None) if "strategy" in files else None
    return audit(data_subject(files["train"], others, settings), prompts)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return audited(flawed.write_flawed(tmp_path_factory.mktemp("flawed")))


def test_every_fault_is_found(record: dict[str, Any]) -> None:
    assert kinds(record) >= FAULTS
    assert record["errors"] >= 4


def test_targets_that_the_parser_cannot_read_are_counted_by_class(record: dict[str, Any]) -> None:
    finding = found(record, "unparsable_target", "train")
    normal = record["splits"]["train"]["classes"]["normal"]
    assert finding["level"] == "error" and finding["count"] == normal
    assert finding["by_class"]["normal"] == f"{normal} of {normal}" and finding["by_class"]["hate"].startswith("0 of")
    assert '{{"classification": "normal"}}' in finding["sentence"]


def test_the_brace_that_gives_the_label_away(record: dict[str, Any]) -> None:
    finding = found(record, "giveaway", "train")
    assert finding["level"] == "error" and "brace" in finding["sentence"] and "1.00 of 1" in finding["sentence"]
    assert not [f for f in record["findings"] if f["kind"] == "giveaway" and f["split"] == "validation"]


def test_duplicates_and_conflicts_see_through_case_and_punctuation(record: dict[str, Any]) -> None:
    assert found(record, "duplicate", "train")["count"] == 2
    conflict = found(record, "conflict", "train")
    assert conflict["count"] == 2 and "hate and normal" in conflict["sentence"]
    assert {place.rpartition(":")[2] for place in conflict["places"]} == {"6", "10"}


def test_leaks_are_counted_split_by_split(record: dict[str, Any]) -> None:
    assert (
        found(record, "leakage", "test and train")["count"],
        found(record, "leakage", "test and train")["level"],
    ) == (8, "error")
    assert found(record, "leakage", "validation and train")["count"] == 1
    near = found(record, "near_leakage", "test and train")
    assert (
        near["count"] == 1
        and near["places"][0].startswith(str(near["places"][0].split(" ~ ")[0]))
        and "train.jsonl:61" in near["places"][0]
    )


def test_a_split_field_that_would_drop_rows_is_counted_by_class_and_group(record: dict[str, Any]) -> None:
    finding = found(record, "split_field", "train")
    assert finding["count"] == 150 and "25.0%" in finding["sentence"]
    assert finding["by_class"] and finding["by_group"]


def test_a_filter_that_drops_rows_is_counted(tmp_path: Path) -> None:
    files = flawed.write_flawed(tmp_path)
    record = audited(files, data={"train": {"where": {"split": "train"}}})
    finding = found(record, "dropped_by_filter", "train")
    assert (finding["count"], finding["of"]) == (150, 600) and "split = 'train'" in finding["sentence"]
    assert sum(int(value.split(" of ")[0]) for value in finding["by_class"].values()) == 150


def test_rows_that_another_split_of_the_file_takes_are_not_lost(tmp_path: Path) -> None:
    records = [*flawed.clean_split("train", 60, 1), *flawed.clean_split("test", 30, 2)]
    path = flawed.write(tmp_path / "all.jsonl", records)
    settings = {"data": {"train": {"where": {"split": "train"}}, "test": {"where": {"split": "test"}}}}
    record = audit(data_subject(path, {"test": path}, settings))
    assert [split["records"] for split in record["splits"].values()] == [60, 30]
    assert not kinds(record) & {"dropped_by_filter", "split_field", "leakage"}


def test_prompts_that_were_never_trained_on(record: dict[str, Any], tmp_path: Path) -> None:
    finding = found(record, "prompt_mismatch")
    assert (
        finding["level"] == "error"
        and "Is this hate?" in finding["sentence"]
        and flawed.SYSTEM[:20] in finding["sentence"]
    )


def test_prompts_in_records_beside_the_train_data(tmp_path: Path) -> None:
    files = flawed.write_flawed(tmp_path)
    posts = flawed.clean_split("test", 40, 3)
    same = flawed.write(tmp_path / "same.jsonl", [flawed.as_chat(post) for post in posts])
    other = flawed.write(tmp_path / "other.jsonl", [flawed.as_chat(post, system="Judge!") for post in posts])
    subject = data_subject(files["train"], {}, {})
    assert "prompt_mismatch" not in kinds(audit(subject, prompt_file(same, None)))
    finding = found(audit(subject, prompt_file(other, None)), "prompt_mismatch")
    assert (finding["count"], finding["of"]) == (40, 40)


def test_clean_data_of_the_same_make_have_none_of_it(tmp_path: Path) -> None:
    record = audited(flawed.write_clean(tmp_path))
    assert not record["findings"], record["findings"]
    assert record["splits"]["train"]["records"] == 600 and record["guessed"]


def test_an_experiment_whose_test_is_asked_in_other_words(tmp_path: Path) -> None:
    """Train brings finished prompts; test is rendered by the experiment's own prompt section."""
    files = flawed.write_flawed(tmp_path)
    flawed.write(tmp_path / "plain.jsonl", flawed.clean_split("test", 60, 5))
    settings = {
        "data": {"test": str(tmp_path / "plain.jsonl")}, "prompt": {"system": flawed.SYSTEM, "user": "Classify: {text}"},
        "task": {"type": "classification", "labels": ["hate", "normal"], "target": "json"},
    }  # fmt: skip
    record = audit(data_subject(files["train"], {"test": tmp_path / "plain.jsonl"}, settings))
    assert found(record, "prompt_mismatch")["count"] == 60
    settings["prompt"]["user"] = 'Post: "{text}"\nClassify it.'
    record = audit(data_subject(files["train"], {"test": tmp_path / "plain.jsonl"}, settings))
    assert "prompt_mismatch" not in kinds(record)


@pytest.mark.parametrize("name", ["demo_cpu", "hate_speech", "multi_node", "sweep"])
def test_the_bundled_data_have_none_of_it(name: str) -> None:
    record = audit(experiment_subject(PROJECT / "configs" / "experiments" / f"{name}.yaml", [], "slurm"))
    # persona_tag has a dozen values in 400 records: that some are thin is true.
    assert kinds(record) <= {"thin_group"}, record["findings"]
    assert record["errors"] == 0
