"""Records above train.max_length: refused with counts, dropped, or their prompt cut; an answer is never cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftlib.config.tree import SFTConfig
from sftlib.data.processing import SFTDatasetProcessor
from sftlib.data.rendering import IGNORED
from sftlib.data.rows import Rows
from sftlib.errors import DataError
from tests.tiny import build_tokenizer

LIMIT = 100
TOKENIZER = build_tokenizer()
SYSTEM = {"role": "system", "content": "hate or normal?"}


def processor(folder: Path, records: list[dict[str, Any]], policy: str, **sections: Any) -> SFTDatasetProcessor:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    train = {"max_length": LIMIT, "overlong": policy, **sections.pop("train", {})}
    data = {"train": str(path), "cache": False, **sections.pop("data", {})}
    return SFTDatasetProcessor(SFTConfig.model_validate({"data": data, "train": train, **sections}), TOKENIZER)


def text_of(row: dict[str, list[int]], *, learnt: bool | None = None) -> str:
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    return TOKENIZER.decode([token for token, label in pairs if learnt is None or (label != IGNORED) == learnt])


def test_the_error_counts_by_class_and_group(tmp_path: Path) -> None:
    records = [
        {
            "text": "word " * (60 if index % 2 else 1),
            "label": ("hate", "normal")[index % 3 == 0],
            "group": "abc"[index % 3],
        }
        for index in range(12)
    ]
    sections = {"task": {"type": "classification", "labels": ["hate", "normal"]}, "data": {"group_columns": ["group"]}}
    with pytest.raises(DataError) as caught:
        processor(tmp_path, records, "error", **sections).rows("train")
    told = str(caught.value)
    assert "records.jsonl: 6 of 12 records are longer than train.max_length = 100 tokens" in told
    assert "label hate: 4, normal: 2; group b: 2, a: 2, c: 2" in told and "the longest has 3" in told
    assert "raise train.max_length, or set train.overlong to drop or truncate_prompt" in told
    rows = processor(tmp_path, records, "drop", **sections).rows("train")
    assert len(rows) == 6 and rows.dropped == {"longer than 100 tokens": 6}
    with pytest.raises(DataError, match="none of 2 records is left"):
        processor(tmp_path, [records[1], records[3]], "drop", **sections).rows("train")


def chat(*turns: str, system: str | None = None) -> dict[str, Any]:
    head = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return {"messages": [*head, *({"role": roles[i % 2], "content": text} for i, text in enumerate(turns))]}


def test_a_cut_prompt_keeps_its_head_its_end_and_the_answer(tmp_path: Path) -> None:
    record = chat("FIRST " + "word " * 60 + "LAST?", "the answer", system="be kind")
    (row,) = processor(tmp_path, [record], "truncate_prompt").rows("train")
    assert len(row["input_ids"]) == LIMIT
    assert text_of(row).startswith("<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\n")
    assert "FIRST" not in text_of(row) and "LAST?<|im_end|>\n<|im_start|>assistant\n" in text_of(row)
    assert text_of(row, learnt=True) == "the answer<|im_end|>"


def test_the_instruction_before_the_text_is_kept(tmp_path: Path) -> None:
    prompt = {"system": "be kind", "user": "Classify: {text} (one word)"}
    sections = {"task": {"type": "classification", "labels": ["hate", "normal"]}, "prompt": prompt}
    record = {"text": "FIRST " + "word " * 60, "label": "hate"}
    (row,) = processor(tmp_path, [record], "truncate_prompt", **sections).rows("train")
    assert "user\nClassify: " in text_of(row) and "FIRST" not in text_of(row)
    assert text_of(row, learnt=False).endswith("word  (one word)<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("mode", ["completion", "assistant", "all"])
def test_the_last_answer_is_supervised_whole_in_every_mode(tmp_path: Path, mode: str) -> None:
    record = chat("word " * 30, "an early answer", "word " * 3, "the last answer")
    (row,) = processor(tmp_path, [record], "truncate_prompt", train={"loss_on": mode}).rows("train")
    assert len(row["input_ids"]) == LIMIT and text_of(row, learnt=True).endswith("the last answer<|im_end|>")
    assert ("an early answer" in text_of(row, learnt=True)) == (mode != "completion")


def test_short_records_are_as_they_were(tmp_path: Path) -> None:
    records = [chat("word " * 60, "long"), chat("a", "b")]
    cut = processor(tmp_path, records, "truncate_prompt").rows("train")
    assert cut[1] == processor(tmp_path, records[1:], "error").rows("train")[0]


def test_what_cannot_be_cut_is_named(tmp_path: Path) -> None:
    for record, told in (
        (
            chat("short", "word " * 60),
            r"records.jsonl:1: the head .* its answer \(\d+ tokens\) do not fit in train.max_length = 100",
        ),
        (chat("word " * 10, "b", system="word " * 60), r"the head of its prompt \(\d+ tokens"),
        ({"text": "word " * 60}, "neither is ever cut"),
    ):
        with pytest.raises(DataError, match=told):
            processor(tmp_path, [record], "truncate_prompt").rows("train")


def test_no_row_is_without_a_supervised_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a renderer gives."""
    from sftlib.data.rendering import Renderer, TrainingRow

    records = [chat("a", "b"), chat("c", "d")]
    one = processor(tmp_path, records, "error")
    whole: Rows = one.rows("train")
    assert (whole.supervised.nonzero()[0].size) > 0
    masked = lambda self, samples: [TrainingRow([1, 2], [IGNORED, i * 2 or IGNORED]) for i, _ in enumerate(samples)]  # noqa: E731
    monkeypatch.setattr(Renderer, "rows", masked)
    with pytest.raises(DataError, match=r"records.jsonl:1: none of its 2 tokens is supervised"):
        one.rows("train")
