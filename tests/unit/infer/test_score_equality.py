"""Scores equal a plain forward pass to 1e-4 (fp32) for each of 200 records, whatever the model's architecture, the batches,
the shards, and with or without the shared prefix."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlib.artifacts.shards import shard_range
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import Sample
from sftlib.infer.forwards import PlainForward, RowForward, TreeForward
from sftlib.infer.scoring import LabelScorer
from tests.tiny import build_shape, build_tiny_model

RECORDS = 200
TASK = {"type": "classification", "labels": ["hate", "normal", "not sure"], "positive": "hate", "target": "json"}
# What must carry a model, so that a slower way is never taken unnoticed.
WAYS = {
    "llama": TreeForward, "mistral-window": TreeForward, "gemma2": TreeForward, "gemma3": TreeForward,
    "gpt-oss": TreeForward, "gpt2": TreeForward, "bloom": RowForward, "mamba": RowForward,
}  # fmt: skip


@cache
def folder(root: Path, shape: str) -> Path:
    build = build_tiny_model if shape == "llama" else lambda path: build_shape(path, shape)
    return build(root / shape)


def config(**predict: object) -> SFTConfig:
    return SFTConfig.model_validate({"task": TASK, "predict": predict})


def ask(renderer: Renderer) -> list[Prompt]:
    draw = random.Random(0)
    system = [{"role": "system", "content": "Say whether a post is hate or normal. " * 2}]
    return [
        renderer.prompt(
            Sample(str(i), [*system, {"role": "user", "content": f"{i} " + "word, " * draw.randint(0, 12)}], None)
        )
        for i in range(RECORDS)
    ]


@pytest.fixture(scope="module", params=list(WAYS))
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Model, renderer, prompts, and what a forward pass without batch and cache says of each label."""
    torch.set_num_threads(1)
    where = folder(tmp_path_factory.getbasetemp(), request.param)
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
    renderer = Renderer(config(), AutoTokenizer.from_pretrained(where))
    prompts = ask(renderer)
    scorer = LabelScorer(model, renderer, config())
    with torch.inference_mode():
        expected = [
            [plain(model, prompt.ids, label) for label in scorer.label_ids] for prompt in prompts
        ]  # written out here, not PlainForward: what is checked must not check itself
        assert PlainForward(model, scorer.label_ids, scorer.tree, None).logprobs([prompts[0].ids]) == [expected[0]]  # type: ignore[arg-type]
    return request.param, model, renderer, prompts, expected


def plain(model, prompt: list[int], label: list[int]) -> float:
    logits = model(torch.tensor([prompt + label[:-1]]), use_cache=False).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(label))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.sampled_from([64, 333, 4096, 50_000]), shards=st.sampled_from([1, 2, 3, 7]), cached=st.booleans(),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_every_batch_and_shard_gives_the_same_scores(known, budget: int, shards: int, cached: bool, seed: int) -> None:
    shape, model, renderer, prompts, expected = known
    scorer = LabelScorer(model, renderer, config(batch_tokens=budget, prefix_cache=cached))
    scorer.prepare(prompts[:: RECORDS // 32])
    assert type(scorer._forward) is WAYS[shape]
    assert bool(scorer._forward.prefix) == (cached and WAYS[shape] is TreeForward)
    order = random.Random(seed).sample(range(RECORDS), RECORDS)
    for shard in range(shards):
        rows = [order[i] for i in shard_range(RECORDS, shard, shards)]
        for row, answer in zip(rows, scorer.answer([prompts[i] for i in rows], lambda count: None), strict=True):
            assert answer.label_logprobs == pytest.approx(expected[row], abs=1e-4)


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_as_the_stage_cuts_them(known, shards: int) -> None:
    _, model, renderer, prompts, expected = known
    found = []
    for shard in range(shards):  # a scorer of its own each, as in a job of its own
        chosen = [prompts[i] for i in shard_range(RECORDS, shard, shards)]
        found += [a.label_logprobs for a in LabelScorer(model, renderer, config()).answer(chosen, lambda count: None)]
    assert len(found) == RECORDS
    for got, want in zip(found, expected, strict=True):
        assert got == pytest.approx(want, abs=1e-4)


def test_a_prompt_that_begins_otherwise_is_scored_whole(known) -> None:
    _, model, renderer, prompts, _ = known
    scorer = LabelScorer(model, renderer, config())
    scorer.prepare(prompts)
    other = renderer.prompt(Sample("x", [{"role": "user", "content": "no system prompt here"}], None))
    answers = scorer.answer([prompts[0], other, prompts[1]], lambda count: None)
    with torch.inference_mode():
        wanted = [plain(model, other.ids, label) for label in scorer.label_ids]
    assert answers[1].label_logprobs == pytest.approx(wanted, abs=1e-4)


def test_a_way_that_gives_other_scores_is_not_used(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    renderer = Renderer(config(), AutoTokenizer.from_pretrained(tiny_model))
    monkeypatch.setattr("sftlib.infer.forwards._Masks._additive", lambda self, allowed: None)  # nothing is masked
    scorer = LabelScorer(model, renderer, config())
    prompts = ask(renderer)[:40]
    answers = scorer.answer(prompts, lambda count: None)
    assert type(scorer._forward) is RowForward and "off the plain forward pass" in capsys.readouterr().err
    with torch.inference_mode():
        for prompt, answer in zip(prompts, answers, strict=True):
            wanted = [plain(model, prompt.ids, label) for label in scorer.label_ids]
            assert answer.label_logprobs == pytest.approx(wanted, abs=1e-4)
