"""Every format becomes the same kind of sample, and the user's own function may make any of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sftlib.config.inputs import read_split
from sftlib.config.load import load_experiment
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError, InputError

ASKED, ANSWER = [{"role": "user", "content": "hi"}], "ho"


def samples(folder: Path, records: list[dict[str, Any]], **sections: Any) -> list[Sample]:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    data = {"train": str(path), **sections.pop("data", {})}
    config = SFTConfig.model_validate({"data": data, **sections})
    return samples_of(read_split(config, "train"), config)


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [*ASKED, {"role": "assistant", "content": ANSWER}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "Assistant", "content": ANSWER},
            ]
        },
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": ANSWER}]},
        {"conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ANSWER}]},
        {"instruction": "hi", "input": "", "output": ANSWER},
        {"instruction": "hi", "input": None, "output": ANSWER},
        {"instruction": "hi", "output": ANSWER},
        {"prompt": "hi", "completion": ANSWER},
        {"prompt": ASKED, "completion": [{"role": "assistant", "content": ANSWER}]},
    ],
)
def test_the_same_question_in_every_format(tmp_path: Path, record: dict[str, Any]) -> None:
    (one,) = samples(tmp_path, [record])
    assert (one.messages, one.target, one.answer_fields) == (ASKED, ANSWER, {})


def test_columns_of_other_names(tmp_path: Path) -> None:
    data = {"instruction_column": "Instruction", "input_column": "Input", "output_column": "Output"}
    (one,) = samples(tmp_path, [{"Instruction": "hi", "Input": "there", "Output": ANSWER}], data=data)
    assert one.messages == [{"role": "user", "content": "hi\n\nthere", "instruction": "hi", "input": "there"}]


def test_the_experiments_system_prompt_stands_where_the_record_has_none(tmp_path: Path) -> None:
    own = {"role": "system", "content": "own"}
    with_own = {"messages": [own, *ASKED, {"role": "assistant", "content": ANSWER}]}
    without = {"messages": with_own["messages"][1:]}
    one, other = samples(tmp_path, [with_own, without], prompt={"system": "ours"})
    assert one.messages[0] == own and other.messages[0] == {"role": "system", "content": "ours"}
    beside = {"system": "aside", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": ANSWER}]}
    assert samples(tmp_path, [beside])[0].messages[0] == {"role": "system", "content": "aside"}


def test_text_is_learnt_whole_and_is_no_test(tmp_path: Path) -> None:
    (one,) = samples(tmp_path, [{"text": "just text"}])
    assert (one.messages, one.target) == ([], "just text")
    config = SFTConfig.model_validate({"data": {"test": str(tmp_path / "train.jsonl")}})
    with pytest.raises(DataError, match="ask nothing"):
        read_split(config, "test")


def test_reasoning_stays_with_its_turn(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": ANSWER, "thinking": "let me see"}
    (one,) = samples(tmp_path, [{"messages": [*ASKED, answer]}])
    assert one.answer_fields == {"thinking": "let me see"}


FUNCTIONS = """
from sibling import shout  # beside this file, not beside the program

def as_text(record): return shout(record["q"])
def as_messages(record): return [{"role": "user", "content": record["q"]}, {"role": "assistant", "content": record["a"]}]
def as_fields(record): return {"prompt": record["q"], "completion": record["a"]}
def batched(table): return {"prompt": table["q"], "completion": [a.upper() for a in table["a"]]}
def batched_list(table): return [f"{q}{a}" for q, a in zip(table["q"], table["a"])]
def short(table): return ["only one"]
def failing(record): return record["nope"]
def wrong(record): return 7
def fieldless(record): return {"x": 1}
def empty(record): return ""
"""
QA = [{"q": "hi", "a": "ho", "group": "g"}, {"q": "he", "a": "ha", "group": "g"}]


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "own_functions.py").write_text(FUNCTIONS)
    (tmp_path / "sibling.py").write_text("def shout(text): return text.upper()")
    return tmp_path / "own_functions.py"


def made(folder: Path, name: str, **data: Any) -> list[Sample]:
    return samples(
        folder, QA, data={"formatting_func": f"{folder}/own_functions.py:{name}", "group_columns": ["group"], **data}
    )


def test_own_functions(functions: Path) -> None:
    folder, path = functions.parent, list(sys.path)
    assert [(one.messages, one.target) for one in made(folder, "as_text")] == [([], "HI"), ([], "HE")]
    for name in ("as_messages", "as_fields"):
        assert next((one.messages, one.target) for one in made(folder, name)) == (ASKED, "ho")
    assert [one.target for one in made(folder, "batched", formatting_batched=True)] == ["HO", "HA"]
    assert [one.target for one in made(folder, "batched_list", formatting_batched=True)] == ["hiho", "heha"]
    assert made(folder, "as_fields")[0].groups == {"group": ["g"]}
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "batched", "expected"),
    [
        ("failing", False, r"train.jsonl:1: data.formatting_func .* raised KeyError: 'nope'"),
        ("wrong", False, "expected text, a list of messages, or an object of fields"),
        ("fieldless", False, "no format fits the fields x"),
        ("empty", False, "expected text that is not empty"),
        ("short", True, "expected a list, or lists, of the same length"),
    ],
)
def test_what_an_own_function_does_wrong_is_named(functions: Path, name: str, batched: bool, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        made(functions.parent, name, formatting_batched=batched)


def test_an_own_function_is_found_beside_the_experiment(functions: Path) -> None:
    """Also by a job that runs elsewhere with an import path that nobody can shadow."""
    experiment = functions.parent / "experiment.json"
    (functions.parent / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in QA))
    experiment.write_text(
        json.dumps({"data": {"train": "train.jsonl", "formatting_func": "own_functions:as_fields", "test_size": 1}})
    )
    config = load_experiment(experiment, [], "local").config
    program = (
        "import sys, json; from sftlib.config.tree import SFTConfig; from sftlib.config.inputs import read_split\n"
        "from sftlib.data.samples import samples_of; one = SFTConfig.model_validate(json.load(sys.stdin))\n"
        "print([s.target for s in samples_of(read_split(one, 'train'), one)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(config.to_dict()), capture_output=True, text=True, check=False,
        cwd="/", env={**os.environ, "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.stdout.strip() in ("['ho']", "['ha']"), done.stderr
    for wrong, expected in (
        ("own_functions:nope", "has no function 'nope'"),
        ("nowhere:f", "no nowhere.py beside the experiment"),
    ):
        one = load_experiment(experiment, [f"data.formatting_func={wrong}"], "local").config
        with pytest.raises(InputError, match=expected):
            samples_of(read_split(one, "train"), one)


def test_a_changed_function_changes_the_split(functions: Path) -> None:
    from sftlib.config.inputs import split_digest

    def digest() -> str:
        data = {"train": str(functions.parent / "train.jsonl"), "formatting_func": f"{functions}:as_text"}
        return split_digest(SFTConfig.model_validate({"data": data}), "train")

    made(functions.parent, "as_text")
    before = digest()
    functions.write_text(FUNCTIONS + "\n# changed\n")
    assert digest() != before
