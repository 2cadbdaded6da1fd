"""`sft prompts build`: every record is in the files or accounted for, targets read back, prompts are those of prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sftlib.__main__ import main
from sftlib.config.data import TaskSection
from sftlib.config.inputs import read_split
from sftlib.config.load import load_experiment
from sftlib.config.references import read_strategy
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import alias_table, parse_label
from sftlib.data.rendering import Renderer
from sftlib.data.samples import samples_of, target_text
from tests.conftest import PROJECT
from tests.tiny import build_tokenizer

STRATEGIES = PROJECT / "configs" / "prompts" / "hate_speech.json"
RECORDS = [
    {"text": f"post {i} {{text}} \"quoted\" ### Output", "label": "hate" if i % 3 else "normal", "target_group": "ab"[i % 2], "split": "train" if i % 4 else "test", "original_id": f"r{i}"}
    for i in range(40)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "data", "train", RECORDS)
    write(tmp_path / "data", "val", RECORDS[:8])
    return tmp_path


def write(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(records))


def build(folder: Path, *arguments: str) -> int:
    return main(["prompts", "build", str(folder / "data"), "--out", str(folder / "out"), *arguments])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_forms_of_every_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder) == 0
    assert "train       40 read, 40 written  (hate 26, normal 14)" in capsys.readouterr().out
    for strategy in ("simple", "combined_optimized"):
        texts = read_strategy(str(STRATEGIES), strategy)
        for name, records in (("train", RECORDS), ("validation", RECORDS[:8])):
            built = lines(folder / "out" / strategy / f"{name}.jsonl")
            for line, record in zip(built, records, strict=True):
                system, user, answer = line["messages"]
                assert system == {"role": "system", "content": texts["system_prompt"]}
                asked = (
                    texts["user_template"]
                    .replace("{target_group}", record["target_group"])
                    .replace("{text}", record["text"], 1)
                )
                assert user == {"role": "user", "content": asked}
                assert json.loads(answer["content"]) == {"classification": record["label"]}
                assert (line["label"], line["target_group"], line["sample_id"]) == (
                    record["label"],
                    record["target_group"],
                    record["original_id"],
                )
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert len(manifest["files"]) == 4 and manifest["splits"]["train"]["left_out"] == {}


def test_a_filter_says_what_it_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder, "--where", "split=train", "--strategy", "simple") == 0
    assert "train       40 read, 30 written; 10 left out by where {'split': 'train'}" in capsys.readouterr().out
    assert len(lines(folder / "out" / "simple" / "train.jsonl")) == 30


@pytest.mark.parametrize(
    ("record", "arguments", "expected"),
    [
        ({"text": ""}, [], "expected text that is not empty"),
        (
            {"label": "hat"},
            ["--set", "task.type=classification", "--set", "task.labels=[hate, normal]"],
            "did you mean 'hate'",
        ),
        ({"target_group": None}, [], "field 'target_group' is None"),
        ({}, ["--strategy", "combined_focussed"], "did you mean 'combined_focused'"),
        ({}, ["--strategies", "hate_speach"], "there is no such file"),
        ({}, ["--where", "split=nothing"], "keeps none of 40 records"),
        ({}, ["--set", "task.verbalizers={hate: same, normal: Same}"], "would not be read back"),
        ({}, ["--set", "task.target"], "expected KEY=VALUE"),
        ({}, ["--set", "=json"], "expected KEY=VALUE"),
    ],
)
def test_nothing_is_filled_in_in_silence(
    folder: Path, capsys: pytest.CaptureFixture[str], record: dict[str, Any], arguments: list[str], expected: str
) -> None:
    write(folder / "data", "train", [*RECORDS[:-1], {**RECORDS[-1], **record}])
    assert build(folder, *arguments) == 2
    assert expected in capsys.readouterr().err
    assert not (folder / "out").exists() or not any(path.is_file() for path in (folder / "out").rglob("*"))


def test_what_is_there_is_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(folder) == 0
    assert build(folder) == 2 and "--force" in capsys.readouterr().err
    assert build(folder, "--force") == 0


@pytest.mark.parametrize("strategy", json.loads(STRATEGIES.read_text())["strategies"])
def test_built_files_train_the_prompt_that_the_strategy_predicts(folder: Path, strategy: str) -> None:
    assert build(folder, "--strategy", strategy) == 0
    tokenizer = build_tokenizer()
    task = {"type": "classification", "labels": ["hate", "normal"], "positive": "hate", "target": "json"}
    data = {
        "train": str(folder / "out" / strategy / "train.jsonl"),
        "test": str(folder / "data" / "train.json"),
        "group_columns": ["target_group"],
    }
    texts = read_strategy(str(STRATEGIES), strategy)
    prompt = {"system": texts["system_prompt"], "user": texts["user_template"]}
    config = SFTConfig.model_validate({"data": data, "task": task, "prompt": prompt})
    renderer = Renderer(config, tokenizer)
    trained = renderer.rows(samples_of(read_split(config, "train"), config))
    predicted = renderer.prompts(samples_of(read_split(config, "test"), config))
    for row, asked in zip(trained, predicted, strict=True):
        assert (
            row.ids[: len(asked.ids)] == asked.ids
            and row.labels[len(asked.ids) - 1] == -100 != row.labels[len(asked.ids)]
        )


def test_the_example_experiment_builds(tmp_path: Path) -> None:
    experiment = PROJECT / "configs" / "experiments" / "hate_speech.yaml"
    assert main(["prompts", "build", str(experiment), "--out", str(tmp_path / "out")]) == 0
    config = load_experiment(experiment, [], "local").config
    built = lines(tmp_path / "out" / "combined_optimized" / "test.jsonl")
    assert [line["original_id"] for line in built] == [s.id for s in samples_of(read_split(config, "test"), config)]
    assert all(
        parse_label(line["messages"][-1]["content"], config.task) == (line["label_binary"], None) for line in built
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@given(labels=st.lists(WORDS, min_size=2, max_size=4, unique=True), spoken=st.lists(WORDS, min_size=4, max_size=4), target=st.sampled_from(["label", "json"]), key=WORDS)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_target_reads_back_as_its_own_label(labels: list[str], spoken: list[str], target: str, key: str) -> None:
    """For whatever labels: where two of them, folded, are one spelling, or one is empty, the audit says so instead."""
    task = TaskSection.model_validate({"type": "classification", "labels": labels, "target": target, "json_key": key, "verbalizers": dict(zip(labels, spoken, strict=False))})  # fmt: skip
    config = SFTConfig.model_validate({"task": task.model_dump(mode="json")})
    folded = [spelling for label in labels for spelling in {next(iter(alias_table(TaskSection(labels=[text])))) for text in (label, task.verbalizers[label])}]  # fmt: skip
    assume(len(set(folded)) == len(folded) and all(folded))
    for label in labels:
        text = target_text(label, config)
        if target == "json" or _is_plain(text):
            assert parse_label(text, task) == (label, None)


def _is_plain(text: str) -> bool:
    """A bare label that is no JSON, fence or channel of its own."""
    return not any(sign in text for sign in "{`<") and not text.casefold().startswith(("analysis", "assistantfinal"))
