"""Generation with a real model: the shared prefix, stop strings, constrained labels and seeded samples, whoever shares a
batch or a shard."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlib.artifacts.shards import shard_range
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import Sample
from sftlib.infer.answers import FAILED, Answer
from sftlib.infer.generating import Generator
from tests.tiny import build_shape

RECORDS = 20
TASK = {"type": "classification", "labels": ["hate", "normal", "not sure"], "positive": "hate"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory):
    torch.set_num_threads(1)
    folder = build_shape(tmp_path_factory.mktemp("qwen3"), "qwen3")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def generator(loaded, **sections: dict) -> tuple[Generator, list[Prompt]]:
    task, predict = sections.get("task", {"type": "generation"}), sections.get("predict", {})
    config = SFTConfig.model_validate(
        {"task": task, "predict": {"method": "generate", "max_new_tokens": 12, **predict}}
    )
    model, tokenizer = loaded
    renderer = Renderer(config, tokenizer)
    return Generator(model, renderer, config), asked(renderer)


def asked(renderer: Renderer) -> list[Prompt]:
    """Prompts that begin alike; the last two are equal."""
    draw = random.Random(0)
    system = {"role": "system", "content": "Say whether a post is hate or normal, and why. " * 2}
    texts = [f"{i} " + "word, " * draw.randint(0, 12) for i in range(RECORDS - 2)] + ["the same post"] * 2
    return [
        renderer.prompt(Sample(str(i), [system, {"role": "user", "content": text}], None))
        for i, text in enumerate(texts)
    ]


def answers(loaded, **sections: dict) -> list[Answer]:
    engine, prompts = generator(loaded, **sections)
    engine.prepare(prompts)
    return engine.answer(prompts, lambda count: None)


def texts(found: list[Answer]) -> list[str | None]:
    return [answer.raw for answer in found]


def plain(model, tokenizer, prompt: Prompt, new_tokens: int) -> str:
    """Greedy decoding written out: no cache, no batch."""
    ids = list(prompt.ids)
    with torch.inference_mode():
        for _ in range(new_tokens):
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            ids.append(token)
    return tokenizer.decode(ids[len(prompt.ids) :])


@pytest.mark.parametrize("budget", [64, 300, 4096])
@pytest.mark.parametrize("cached", [True, False])
def test_greedy_text_is_that_of_a_plain_loop(loaded, budget: int, cached: bool) -> None:
    engine, prompts = generator(loaded, predict={"batch_tokens": budget, "prefix_cache": cached})
    engine.prepare(prompts)
    assert bool(engine._prefix) is cached  # used, not given up
    found = engine.answer(prompts, lambda count: None)
    assert texts(found) == [plain(*loaded, prompt, 12) for prompt in prompts]
    assert len(set(texts(found))) > RECORDS // 2, "answers that are all alike show nothing"


def test_a_stop_string_ends_the_answer_before_it(loaded) -> None:
    free = texts(answers(loaded))
    longest = max((text for text in free if text), key=len)
    stops = [longest[4:7], "\n"]
    found = answers(loaded, predict={"stop": stops})
    for text, answer in zip(free, found, strict=True):
        at = min((text.find(stop) for stop in stops if stop in text), default=None)
        assert answer.raw == (text if at is None else text[:at])
        assert at is None or answer.reason is None, "an answer that was ended is not truncated"
    assert any(answer.raw != text for text, answer in zip(free, found, strict=True))


@pytest.mark.parametrize("target", ["label", "json"])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_constrained_answer_is_always_a_label(loaded, target: str, temperature: float) -> None:
    task, free = {**TASK, "target": target}, {"temperature": temperature, "max_new_tokens": 40}
    assert all(answer.prediction is None for answer in answers(loaded, task=task, predict=free)), "a random model"
    found = answers(loaded, task=task, predict={**free, "constrain": True})
    assert {answer.prediction for answer in found} <= set(TASK["labels"]) and not any(answer.reason for answer in found)
    assert temperature == 0 or len({answer.prediction for answer in found}) > 1


SAMPLED = {"temperature": 1.0, "top_p": 0.9, "seed": 3}


@pytest.mark.parametrize("further", [{}, {"predict": SAMPLED}, {"task": TASK, "predict": {"constrain": True}}])
def test_only_the_record_for_which_the_model_gives_no_numbers_has_no_answer(loaded, further: dict) -> None:
    predict = {"max_new_tokens": 1, **further.get("predict", {})}
    engine, prompts = generator(loaded, **{**further, "predict": predict})
    engine.prepare(prompts)
    expected = engine.answer(prompts, lambda count: None)
    at, token = next(
        (at, token)
        for at, prompt in enumerate(prompts)
        for token in prompt.ids
        if sum(token in p.ids for p in prompts) == 1
    )
    overflow = (
        loaded[0]
        .get_input_embeddings()
        .register_forward_hook(lambda module, given, out: out.masked_fill((given[0] == token)[..., None], torch.nan))
    )
    try:
        found = engine.answer(prompts, lambda count: None)
    finally:
        overflow.remove()
    assert found[at] == FAILED and FAILED not in expected
    assert [*found[:at], *found[at + 1 :]] == [*expected[:at], *expected[at + 1 :]]


@pytest.mark.parametrize("budget", [64, 4096])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_seed_gives_each_record_its_sample_in_any_batch_and_shard(loaded, budget: int, shards: int) -> None:
    expected = dict(enumerate(texts(answers(loaded, predict=SAMPLED))))
    engine, prompts = generator(loaded, predict={**SAMPLED, "batch_tokens": budget, "prefix_cache": budget == 64})
    engine.prepare(prompts)
    order = random.Random(budget + shards).sample(range(RECORDS), RECORDS)
    for shard in range(shards):
        rows = [order[i] for i in shard_range(RECORDS, shard, shards)]
        found = engine.answer([prompts[i] for i in rows], lambda count: None)
        assert texts(found) == [expected[i] for i in rows]


def test_another_seed_and_an_equal_prompt_draw_differently(loaded) -> None:
    first, second = (texts(answers(loaded, predict={**SAMPLED, "seed": seed})) for seed in (3, 4))
    assert sum(a != b for a, b in zip(first, second, strict=True)) > RECORDS // 2
    assert first[-1] != first[-2]


def test_samples_follow_the_models_probabilities(loaded) -> None:
    """The first token of many records with one prompt, against the softmax within the nucleus."""
    engine, prompts = generator(
        loaded, predict={"temperature": 0.7, "top_p": 0.8, "max_new_tokens": 1, "batch_tokens": 100_000}
    )
    many = [Prompt(prompts[0].text, prompts[0].ids, str(i)) for i in range(1500)]
    engine.prepare(many)
    found = texts(engine.answer(many, lambda count: None))
    expected = nucleus(loaded[0], prompts[0].ids, temperature=0.7, top_p=0.8)
    shares: Counter[str] = Counter()
    for token, probability in expected.items():  # single bytes of a letter look alike as text
        shares["" if token in engine._stops else loaded[1].decode([token])] += probability
    assert set(found) <= set(shares) and len(shares) > 2
    for text, probability in shares.items():
        spread = 4.5 * (probability * (1 - probability) / len(many)) ** 0.5
        assert found.count(text) / len(many) == pytest.approx(probability, abs=spread)


def nucleus(model, ids: list[int], *, temperature: float, top_p: float) -> dict[int, float]:
    """The likeliest tokens that together reach `top_p`, and their shares."""
    with torch.inference_mode():
        values = (model(torch.tensor([ids])).logits[0, -1].double() / temperature).softmax(-1).tolist()
    kept: dict[int, float] = {}
    for token in sorted(range(len(values)), key=lambda token: -values[token]):
        if sum(kept.values()) >= top_p:
            break
        kept[token] = values[token]
    whole = sum(kept.values())
    return {token: value / whole for token, value in kept.items()}
