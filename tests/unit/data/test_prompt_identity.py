"""The prompt that is trained on is the prompt that is predicted with: in bytes and in tokens, for every template, every
strategy, every kind of tokenizer and any text. Training and prediction each build their renderer from what is on disk."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sftlib.artifacts.records import Record
from sftlib.config.data import Source
from sftlib.config.inputs import Split
from sftlib.config.references import read_strategy, strategy_names
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.data.samples import Sample, samples_of
from sftlib.data.templates import TemplateRegistry
from tests.conftest import PROJECT
from tests.tokenizers_of_all_kinds import KINDS, build

STRATEGIES = PROJECT / "configs" / "prompts" / "hate_speech.json"
TEMPLATES = [*TemplateRegistry.sources, "tokenizer"]
OWN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
TEXTS = st.lists(
    st.sampled_from(["</s>", "<s>", "<|im_end|>", "### Output\n", "\n", " ", "  ", "🙂", "שלום", "\x00", "{text}", "{label}", "a post"])
    | st.text(max_size=6),
    min_size=1, max_size=6,
).map("".join).filter(str.strip)  # fmt: skip


def config(template: str, strategy: str) -> SFTConfig:
    texts = read_strategy(str(STRATEGIES), strategy)
    values = {
        "prompt": {"template": template, "system": texts["system_prompt"], "user": texts["user_template"]},
        "task": {"type": "classification", "labels": ["hate", "normal"], "target": "json"},
        "data": {"group_columns": ["group"]},
    }
    return SFTConfig.model_validate(json.loads(json.dumps(values)))


@lru_cache(maxsize=8)
def saved(kind: str) -> Path:
    tokenizer, folder = build(kind), Path(mkdtemp(prefix="sft-test-"))
    tokenizer.chat_template = OWN
    tokenizer.save_pretrained(folder)
    tokenizer.chat_template = None
    return folder


@lru_cache(maxsize=256)
def renderer(side: str, template: str, strategy: str, kind: str) -> Renderer:
    """One for each side: nothing is shared between them but files and settings."""
    return Renderer(config(template, strategy), AutoTokenizer.from_pretrained(saved(kind)))


def sample(one: Renderer, text: str, **label: str) -> Sample:
    record = Record(Path("posts.jsonl"), 1, {"text": text, "group": "a group", **label})
    return samples_of(Split("train", Source(), "labelled", [record]), one.config)[0]


@pytest.mark.parametrize("strategy", strategy_names(STRATEGIES))
@pytest.mark.parametrize("template", TEMPLATES)
@given(text=TEXTS, kind=st.sampled_from(KINDS), label=st.sampled_from(["hate", "normal"]))
@settings(max_examples=12, deadline=None)
def test_trained_and_predicted_prompts_are_one(template: str, strategy: str, text: str, kind: str, label: str) -> None:
    training, predicting = (renderer(side, template, strategy, kind) for side in ("train", "predict"))
    asked = predicting.prompt(sample(predicting, text))  # a test record may have no label
    trained = sample(training, text, label=label)
    row = training.row(trained)
    assert training.prompt(trained).text.encode() == asked.text.encode()
    assert row.ids[: len(asked.ids)] == asked.ids
    assert row.labels == [IGNORED] * len(asked.ids) + row.ids[len(asked.ids) :]
    assert row.ids[-1] == training.tokenizer.eos_token_id and row.ids.count(row.ids[-1]) == 1 + asked.ids.count(
        row.ids[-1]
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_both_sides_have_one_fingerprint(template: str) -> None:
    sides = [renderer(side, template, "combined_focused", "begins").fingerprint() for side in ("train", "predict")]
    assert sides[0] == sides[1] != renderer("train", template, "simple", "begins").fingerprint()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])  # it cannot spell every text
@given(text=TEXTS)
@settings(max_examples=40, deadline=None)
def test_an_answer_stands_behind_any_end_of_a_prompt(kind: str, text: str) -> None:
    """Template plain ends its prompt with the record's own last character, whatever it is."""
    one = renderer("train", "plain", "simple", kind)
    asked, row = one.prompt(sample(one, text)), one.row(sample(one, text, label="hate"))
    assert row.ids[: len(asked.ids)] == asked.ids
    answer = row.ids[len(asked.ids) : -1]
    decode = one.tokenizer.decode
    assert decode([*asked.ids, *answer]) == decode(asked.ids) + ' {"classification": "hate"}'
