"""Label scores equal a plain forward pass of each whole sequence, in any batch composition."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import ENGINE_ERROR
from sftlib.data.rendering import Renderer
from sftlib.data.samples import Sample, target_text
from sftlib.errors import InputError
from sftlib.infer.answers import positive_probability, scored_answer
from sftlib.infer.batches import left_padded, token_batches
from sftlib.infer.prefixes import common_prefix
from sftlib.infer.scoring import LabelScorer
from sftlib.infer.trees import grow_tree


def task(**values: object) -> dict:
    return {"type": "classification", "labels": ["hate", "normal"], "positive": "hate", **values}


def scorer(model_dir: Path, budget: int, **values: object) -> LabelScorer:
    torch.set_num_threads(1)
    config = SFTConfig.model_validate({"task": task(**values), "predict": {"batch_tokens": budget}})
    renderer = Renderer(config, AutoTokenizer.from_pretrained(model_dir))
    return LabelScorer(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval(), renderer, config)


def prompts(engine: LabelScorer, count: int = 23) -> list:
    renderer = Renderer(engine.config, AutoTokenizer.from_pretrained(engine.model.config._name_or_path))
    texts = ["word " * (index % 7) + f"number {index}" for index in range(count)]
    return [renderer.prompt(Sample(str(i), [{"role": "user", "content": text}], None)) for i, text in enumerate(texts)]


def reference(engine: LabelScorer, prompt_ids: list[int], label_ids: list[int]) -> float:
    logits = engine.model(torch.tensor([prompt_ids + label_ids])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt_ids) - 1 + at, token].item() for at, token in enumerate(label_ids))


@pytest.mark.parametrize("budget", [64, 300, 100_000])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"target": "json"},
        {"verbalizers": {"hate": "hate", "normal": "hateful"}},
        {"labels": ["a", "b c d", "b c e"], "positive": "a"},
    ],
)
def test_scores_equal_a_plain_forward_pass(tiny_model: Path, budget: int, values: dict) -> None:
    engine = scorer(tiny_model, budget, **values)
    asked = prompts(engine)
    for prompt, answer in zip(asked, engine.answer(asked, lambda count: None), strict=True):
        expected = [reference(engine, prompt.ids, ids) for ids in engine.label_ids]
        assert answer.label_logprobs == pytest.approx(expected, abs=1e-4)
        assert answer.prediction == engine.labels[expected.index(max(expected))]


def test_a_label_that_begins_another_is_scored_with_its_end(tiny_model: Path) -> None:
    engine = scorer(tiny_model, 1000, verbalizers={"hate": "hate", "normal": "hateful"})
    eos = engine.config and AutoTokenizer.from_pretrained(tiny_model).eos_token_id
    assert all(ids[-1] == eos for ids in engine.label_ids)


def test_two_labels_with_one_text_are_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="two labels have the same text"):
        scorer(tiny_model, 1000, verbalizers={"hate": "x", "normal": "x"})


def test_a_model_without_numbers_gives_no_label(tiny_model: Path) -> None:
    engine = scorer(tiny_model, 200)
    with torch.no_grad():
        engine.model.model.layers[0].mlp.up_proj.weight.fill_(torch.nan)
    found = engine.answer(prompts(engine), lambda count: None)
    assert {(a.prediction, a.reason, a.score, a.label_logprobs) for a in found} == {(None, ENGINE_ERROR, None, None)}


@pytest.mark.parametrize("scores", [[math.nan, -1.0], [-1.0, math.nan], [-math.inf, -math.inf], [-1.0, math.inf]])
def test_scores_that_are_no_numbers_decide_nothing(scores: list[float]) -> None:
    config = SFTConfig.model_validate({"task": task()})
    assert scored_answer(scores, config.task).reason == ENGINE_ERROR
    assert scored_answer([-math.inf, -1.0], config.task).prediction == "normal"  # a label that cannot be said


def test_every_prompt_is_counted_once(tiny_model: Path) -> None:
    engine = scorer(tiny_model, 200)
    counted: list[int] = []
    engine.answer(prompts(engine), counted.append)
    assert sum(counted) == 23 and len(counted) > 1


def test_labels_share_their_first_tokens_and_never_run_their_last() -> None:
    tree = grow_tree([[7], [8]])
    assert tree.tokens == [] and tree.readings == [[(0, 7)], [(0, 8)]]
    tree = grow_tree([[1, 2, 3], [1, 2, 4, 5], [6, 7]])
    assert tree.tokens == [1, 2, 4, 6] and tree.parents == [-1, 0, 1, -1] and tree.depths == [0, 1, 2, 0]
    assert tree.readings == [[(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 2), (2, 4), (3, 5)], [(0, 6), (4, 7)]]
    assert tree.ancestors[3] == [False, False, False, True]  # branches do not see one another


@given(labels=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_a_tree_spells_every_label(labels: list[list[int]]) -> None:
    tree = grow_tree(labels)
    for label, reading in zip(labels, tree.readings, strict=True):
        assert [token for _, token in reading] == label and reading[0][0] == 0
        for (_, token), (place, _) in itertools.pairwise(reading):
            assert tree.tokens[place - 1] == token


@given(rows=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), min_size=1, max_size=6))
def test_the_common_prefix_is_common_longest_and_leaves_something_to_run(rows: list[list[int]]) -> None:
    prefix = common_prefix(rows)
    assert all(row[: len(prefix)] == prefix and len(row) > len(prefix) for row in rows)
    at = len(prefix)
    assert any(len(row) == at + 1 for row in rows) or len({row[at] for row in rows}) > 1


def test_target_text_is_what_is_scored() -> None:
    config = SFTConfig.model_validate({"task": task(target="json")})
    assert target_text("hate", config) == '{"classification": "hate"}'


def test_probability_of_the_positive_label() -> None:
    assert positive_probability([-1.0, -1.0], ["hate", "normal"], "hate") == 0.5
    assert positive_probability([-1000.0, -2000.0], ["hate", "normal"], "hate") == 1.0
    assert positive_probability([-1.0, -1.0], ["hate", "normal"], None) is None


def test_batches_hold_every_position_once_within_the_budget() -> None:
    lengths = [5, 100, 7, 7, 30, 1]
    batches = list(token_batches(lengths, 60))
    assert sorted(position for batch in batches for position in batch) == list(range(6))
    assert batches[0] == [1]  # longer than the budget: alone
    assert all(max(lengths[i] for i in batch) * len(batch) <= 60 for batch in batches[1:])
    assert list(token_batches([], 60)) == []


def test_padding_is_on_the_left() -> None:
    assert left_padded([[1, 2], [3]], 0) == ([[1, 2], [0, 3]], [[1, 1], [0, 1]])
