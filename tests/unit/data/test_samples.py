"""Records become samples: what is asked, what is answered, what is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftlib.config.inputs import read_split, sample_ids
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError, InputError

LABELLED = {"data": {"group_columns": ["group"]}, "task": {"type": "classification", "labels": ["hate", "normal"]}}


def samples(folder: Path, records: list[dict[str, Any]], values: dict[str, Any] | None = None) -> list[Sample]:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    values = values or {}
    config = SFTConfig.model_validate({**values, "data": {"train": str(path), **values.get("data", {})}})
    return samples_of(read_split(config, "train"), config)


def test_formats_are_recognised_by_their_fields(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    for record in (
        {"messages": chat},
        {"prompt": "hi", "completion": "ho"},
        {"instruction": "hi", "input": "", "output": "ho"},
        {"instruction": "hi", "output": "ho"},
    ):
        (sample,) = samples(tmp_path, [record])
        assert (sample.messages, sample.target) == ([{"role": "user", "content": "hi"}], "ho"), record
    (sample,) = samples(tmp_path, [{"instruction": "hi", "input": "there", "output": "ho"}])
    assert sample.messages[0]["content"] == "hi\n\nthere"


def test_labelled_records_have_gold_groups_and_prompt(tmp_path: Path) -> None:
    values = {**LABELLED, "prompt": {"system": "s", "user": 'About {target_group}: {text} {"a": 1}'}}
    (sample,) = samples(tmp_path, [{"text": "x {label} {{y}}", "label": "hate", "group": ["a", "b"]}], values)
    assert sample.messages[1]["content"] == 'About a, b: x {label} {{y}} {"a": 1}'
    assert (sample.gold, sample.target, sample.groups) == ("hate", "hate", {"group": ["a", "b"]})


def test_a_json_target_reads_back_as_its_label(tmp_path: Path) -> None:
    from sftlib.data.parsing import parse_label

    values = {**LABELLED, "data": {}, "task": {**LABELLED["task"], "target": "json", "verbalizers": {"hate": 'ha"te'}}}
    for label in ("hate", "normal"):
        (sample,) = samples(tmp_path, [{"text": "x", "label": label}], values)
        config = SFTConfig.model_validate(values)
        assert parse_label(sample.target or "", config.task) == (label, None)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"text": "", "label": "hate"}, "expected text that is not empty"),
        ({"text": None, "label": "hate"}, "expected text that is not empty"),
        ({"text": "x", "label": "hat"}, "did you mean 'hate'"),
        ({"text": "x"}, "field 'label' is missing"),
        ({"words": "x", "label": "hate"}, "no format fits the fields label, words"),
        ({"messages": [{"role": "user"}]}, "turn 1: content None"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "ends with the assistant's turn"),
        ({"messages": []}, "expected a list of"),
        ({"prompt": 1, "completion": "x"}, "field 'prompt' = 1"),
    ],
)
def test_a_record_that_does_not_fit_is_named_with_its_line(tmp_path: Path, record: dict, expected: str) -> None:
    values = {**LABELLED, "data": {"format": "labelled"} if "text" in record else {}}
    good = [{**record, "text": "fine", "label": "hate"}] if "text" in record else []
    with pytest.raises(DataError) as caught:
        samples(tmp_path, [*good, record], values)
    assert expected in str(caught.value) and f"train.jsonl:{len(good) + 1}" in str(caught.value)


def test_a_template_field_that_no_record_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prompt.user has \{nope\}.*there are: label, text"):
        samples(tmp_path, [{"text": "x", "label": "hate"}], {**LABELLED, "data": {}, "prompt": {"user": "{nope}"}})


def test_a_filter_counts_what_it_drops_and_never_drops_all(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        "".join(json.dumps({"text": "x", "label": "hate", "split": name}) + "\n" for name in ("a", "b", "b"))
    )
    config = SFTConfig.model_validate({**LABELLED, "data": {"train": {"path": str(path), "where": {"split": "a"}}}})
    split = read_split(config, "train")
    assert len(split) == 1 and list(split.dropped.values()) == [2]
    config = SFTConfig.model_validate({**LABELLED, "data": {"train": {"path": str(path), "where": {"split": "c"}}}})
    with pytest.raises(DataError, match="keeps none of 3 records"):
        read_split(config, "train")


def test_ids_are_unique_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": 1, "text": "x", "label": "hate"}\n{"id": 1, "text": "y", "label": "hate"}\n')
    records = read_split(SFTConfig.model_validate({**LABELLED, "data": {"train": str(path)}}), "train").records
    assert sample_ids(records, None) == ["row-00000000", "row-00000001"]
    assert sample_ids(records, "text") == ["x", "y"]
    with pytest.raises(DataError, match=r"sample id '1' stands at .*:1, .*:2"):
        sample_ids(records, "id")


def test_overlong_records_follow_the_policy(tmp_path: Path) -> None:
    from sftlib.data.processing import SFTDatasetProcessor
    from tests.tiny import build_tokenizer

    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": "word " * n, "label": "hate"}) + "\n" for n in (1, 60)))

    def rows(policy: str):
        values = {**LABELLED, "data": {"train": str(path)}, "train": {"max_length": 100, "overlong": policy}}
        config = SFTConfig.model_validate(values)
        return SFTDatasetProcessor(config, build_tokenizer()).rows(read_split(config, "train"))

    with pytest.raises(
        DataError, match=r"1 of 2 records are longer than train.max_length = 100 tokens \(label hate: 1;"
    ):
        rows("error")
    assert len(rows("drop")) == 1 and rows("drop").dropped == {"longer than 100 tokens": 1}
    short, cut = rows("truncate_prompt")
    assert len(cut["input_ids"]) == 100 and cut["labels"][-2:] == short["labels"][-2:] == cut["input_ids"][-2:]
