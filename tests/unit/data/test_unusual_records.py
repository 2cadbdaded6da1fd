"""Data in unusual but honest forms: semicolons, nested fields, labels that are numbers, names with blanks, tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftlib.config.inputs import read_split
from sftlib.config.tree import SFTConfig
from sftlib.data.audit.prompts import template_frame
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError
from tests.tiny import TEMPLATE, build_tokenizer

TASK = {"type": "classification", "labels": ["sehr gut", "mäßig"]}


def read(folder: Path, name: str, content: str, values: dict[str, Any], split: str = "train") -> list[Sample]:
    path = folder / name
    path.write_bytes(content.encode())
    config = SFTConfig.model_validate({**values, "data": {split: str(path), **values.get("data", {})}})
    return samples_of(read_split(config, split), config)


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def only(folder: Path, record: dict[str, Any], values: dict[str, Any]) -> Sample:
    (sample,) = read(folder, "train.jsonl", lines(record), values)
    return sample


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_spreadsheet_of_any_country(separator: str, tmp_path: Path) -> None:
    table = f'\ufeff"Text, der Körper"{separator}Urteil\r\n"a; b, ""c""\td|e"{separator}sehr gut\r\nzwei{separator}mäßig\r\n'
    values = {"data": {"text_column": "Text, der Körper", "label_column": "Urteil"}, "task": TASK}
    one, two = read(tmp_path, "posts.csv", table, values)
    assert (one.messages[-1]["content"], one.gold) == ('a; b, "c"\td|e', "sehr gut")
    assert (two.messages[-1]["content"], two.gold) == ("zwei", "mäßig")


def test_a_field_whose_name_is_no_identifier_is_filled_in(tmp_path: Path) -> None:
    """Such a name in braces once stayed as it stood: every record asked the same."""
    values = {"data": {"text_column": "Text Körper", "label_column": "Urteil"}, "task": TASK}
    record = {"Text Körper": "eins", "Urteil": "mäßig", "text": "another field"}
    assert only(tmp_path, record, values).messages[-1]["content"] == "eins"
    values["prompt"] = {"user": 'Satz {Text Körper}, {text}, {"a": 1}, {your answer}, {sehr gut|mäßig}'}
    asked = only(tmp_path, record, values).messages[-1]["content"]
    assert asked == 'Satz eins, eins, {"a": 1}, {your answer}, {sehr gut|mäßig}'
    frame = template_frame(None, "Satz: {Text Körper}\nUrteil {mäßig|gut}:", record)
    assert (frame.before, frame.after) == ("Satz: ", "\nUrteil {mäßig|gut}:")


def test_a_prompt_that_shows_nothing_of_its_record_is_refused(tmp_path: Path) -> None:
    for user in ("Is this post bad?", 'Answer {"a": "hate"} or {your words}'):
        with pytest.raises(DataError, match=r"shows nothing of a record: put \{text\} .*there are: text, label"):
            only(tmp_path, {"text": "x", "label": "mäßig"}, {"task": TASK, "prompt": {"user": user}})


def test_fields_within_fields(tmp_path: Path) -> None:
    record = {"post": {"body": "eins"}, "meta": {"verdict": "mäßig", "who": [{"group": "A"}], "year": 2020}}
    data = {"text_column": "post.body", "label_column": "meta.verdict", "group_columns": ["meta.who.0.group"],
            "train": {"path": str(tmp_path / "train.jsonl"), "where": {"meta.year": 2020}}}  # fmt: skip
    other = {"post": {"body": "zwei"}, "meta": {"verdict": "mäßig", "who": [], "year": 2021}}
    values = {"data": data, "task": TASK, "prompt": {"user": "{meta.year}: {text}"}}
    (sample,) = read(tmp_path, "train.jsonl", lines(record, other), values)
    assert (sample.messages[-1]["content"], sample.gold) == ("2020: eins", "mäßig")
    assert sample.groups == {"meta.who.0.group": ["A"]}
    plain = {"a.b": "x", "a": {"b": "y"}, "label": "mäßig"}  # what has the name itself is meant
    assert only(tmp_path, plain, {"data": {"text_column": "a.b"}, "task": TASK}).messages[-1]["content"] == "x"


@pytest.mark.parametrize(
    ("labels", "written", "expected"),
    [
        ([0, 1], [0, 1], ["0", "1"]),
        ([0, 1], [0.0, 1.0], ["0", "1"]),  # a table with a gap makes these of whole numbers
        ([1, 2.5], [1, 2.5], ["1", "2.5"]),
        ([True, False], [True, False], ["true", "false"]),
        (["true", "false"], [True, False], ["true", "false"]),
    ],
)
def test_labels_that_are_no_texts(labels: Any, written: Any, expected: list[str], tmp_path: Path) -> None:
    values = {
        "task": {**TASK, "labels": labels, "positive": labels[1], "target": "json"},
        "data": {"group_columns": ["g"]},
    }
    records = lines(*({"text": "x", "label": label, "g": label} for label in written))
    found = read(tmp_path, "train.jsonl", records, values)
    assert [sample.gold for sample in found] == expected
    assert [sample.groups["g"] for sample in found] == [[label] for label in expected]
    task = SFTConfig.model_validate(values).task
    assert task.positive == expected[1]
    for sample, value in zip(found, written, strict=True):
        for answer in (sample.target, json.dumps({"classification": value})):  # the model may leave the quotes out
            assert parse_label(answer or "", task) == (sample.gold, None)


def test_verbalizers_and_aliases_of_labels_that_are_no_texts() -> None:
    values = {
        "type": "classification",
        "labels": [0, 1],
        "positive": 1,
        "verbalizers": {0: "no"},
        "aliases": {1: [True]},
    }
    task = SFTConfig.model_validate({"task": values}).task
    assert (task.verbalizers, task.aliases) == ({"0": "no"}, {"1": ["true"]})


def test_a_filter_on_a_table_of_texts(tmp_path: Path) -> None:
    table = "text,label,year,is_new\neins,mäßig,2020,True\nzwei,mäßig,2021,True\ndrei,mäßig,2020,False\n"
    where = {"year": 2020, "is_new": True}
    values = {"task": TASK, "data": {"train": {"path": str(tmp_path / "posts.csv"), "where": where}}}
    (sample,) = read(tmp_path, "posts.csv", table, values)
    assert sample.messages[-1]["content"] == "eins"


def test_train_may_come_without_the_groups_that_test_has(tmp_path: Path) -> None:
    values = {"task": TASK, "data": {"group_columns": ["persona"]}}
    record = {"text": "x", "label": "mäßig"}
    assert only(tmp_path, record, values).groups == {"persona": []}
    with pytest.raises(
        DataError, match=r"data.group_columns: no record has the field 'persona'; there are: text, label"
    ):
        read(tmp_path, "test.jsonl", lines(record), values, "test")
    missing = read(tmp_path, "test.jsonl", lines(*({**record, "persona": p} for p in (None, "", float("nan")))), values)
    assert [sample.groups for sample in missing] == [{"persona": []}] * 3


def test_the_same_fault_of_many_records_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "train.jsonl", lines(*[{"body": "x"}] * 7), {"task": TASK})
    told = str(caught.value).splitlines()
    assert "no format fits the fields body" in told[1] and told[2].endswith("train.jsonl:2: the same")
    assert sum("no format fits" in line for line in told) == 1 and told[-2] == "  and 2 more"


TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of <|im_end|> a place"}}]
WITH_TOOLS = "{% for tool in tools or [] %}TOOL {{ tool | tojson }}\n{% endfor %}" + TEMPLATE


def chat(*turns: tuple[str, str], **further: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **further}


@pytest.mark.parametrize("written", [TOOLS, json.dumps(TOOLS)])
def test_tools_of_a_record_are_shown_by_templates_that_know_them(written: Any, tmp_path: Path) -> None:
    asked = chat(("user", "hi"), ("assistant", "ho"), tools=written)
    sample = only(tmp_path, asked, {})
    renderer = Renderer(SFTConfig(), build_tokenizer(WITH_TOOLS))
    prompt = renderer.prompt(sample)
    assert prompt.text.startswith(f"TOOL {json.dumps(TOOLS[0])}\n<|im_start|>user\nhi")
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert prompt.ids.count(end) == 1  # what a description spells is no control token
    assert renderer.row(sample).ids[: len(prompt.ids)] == prompt.ids
    with pytest.raises(DataError, match="has no place for the record's field `tools`"):
        Renderer(SFTConfig(), build_tokenizer()).prompt(sample)
    for wrong in ("{", "7", [7]):
        with pytest.raises(DataError, match=r"field 'tools'.*expected a list of tools"):
            only(tmp_path, {**asked, "tools": wrong}, {})


def test_an_answer_of_weight_0_is_read_and_not_learnt(tmp_path: Path) -> None:
    turns = chat(("user", "a"), ("assistant", "first"), ("user", "b"), ("assistant", "second"), ("user", "c"),
                 ("assistant", "third"))  # fmt: skip
    turns["messages"][1]["weight"] = 0
    config = SFTConfig.model_validate({"train": {"loss_on": "assistant"}})
    renderer = Renderer(config, build_tokenizer())
    row = renderer.row(only(tmp_path, turns, {}))
    learnt = renderer.tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert "first" not in learnt and "second" in learnt and "third" in learnt
    turns["messages"][-1]["weight"] = 0
    with pytest.raises(DataError, match="the last answer has weight 0"):
        only(tmp_path, turns, {})
    turns["messages"][-1]["weight"] = 0.5
    with pytest.raises(DataError, match=r"weight 0\.5: expected 0"):
        only(tmp_path, turns, {})
