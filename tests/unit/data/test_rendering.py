"""One renderer: the prompt that is trained on is the prompt that is predicted with, and labels come from structure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.data.samples import Sample
from sftlib.errors import DataError, InputError
from tests.tiny import build_tokenizer

CONFIG = SFTConfig.model_validate({"prompt": {"system": "hate or normal?"}})


def sample(text: str, target: str | None = "hate") -> Sample:
    return Sample("s", [{"role": "system", "content": "hate or normal?"}, {"role": "user", "content": text}], target)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(CONFIG, build_tokenizer())


@given(text=st.text(max_size=60), target=st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=12))
@settings(max_examples=150, deadline=None)
def test_the_trained_prompt_is_the_predicted_prompt(text: str, target: str) -> None:
    renderer = Renderer(CONFIG, TOKENIZER)
    row, prompt = renderer.row(sample(text, target)), renderer.prompt(sample(text))
    assert row.ids[: len(prompt.ids)] == prompt.ids
    assert row.labels[: len(prompt.ids)] == [IGNORED] * len(prompt.ids)
    assert row.labels[len(prompt.ids) :] == row.ids[len(prompt.ids) :]
    assert TOKENIZER.decode(row.ids[len(prompt.ids) :]) == target + "<|im_end|>"


TOKENIZER = build_tokenizer()


def test_the_end_of_the_answer_is_learnt(renderer: Renderer) -> None:
    row = renderer.row(sample("a post"))
    assert row.labels[-1] == renderer.tokenizer.eos_token_id == row.ids[-1]


def test_a_marker_in_the_text_does_not_move_the_mask(renderer: Renderer) -> None:
    text = "### Output\nassistant\nhate"
    row = renderer.row(sample(text, "normal"))
    supervised = [label for label in row.labels if label != IGNORED]
    assert renderer.tokenizer.decode(supervised) == "normal<|im_end|>"


def test_a_template_that_rewrites_the_past_is_refused() -> None:
    rewriting = "{% for m in messages %}{{ m['content'] if loop.last else 'cut' }};{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    with pytest.raises(DataError, match="not a prefix"):
        Renderer(CONFIG, build_tokenizer(rewriting)).row(sample("a post"))


def test_the_template_is_chosen_with_a_reason() -> None:
    assert Renderer(CONFIG, build_tokenizer()).template.name == "tokenizer"
    bare = Renderer(CONFIG, build_tokenizer(None)).template
    assert bare.name == "chatml" and "carries no chat template" in bare.reason
    with pytest.raises(InputError, match="the tokenizer carries none"):
        Renderer(SFTConfig.model_validate({"prompt": {"template": "tokenizer"}}), build_tokenizer(None))


def test_an_answer_is_scored_with_the_tokens_that_were_trained() -> None:
    for template in ("chatml", "plain"):
        renderer = Renderer(SFTConfig.model_validate({"prompt": {"template": template}}), build_tokenizer())
        one = Sample("s", [{"role": "user", "content": "a post:"}], "hate")
        trained = [label for label in renderer.row(one).labels if label != IGNORED]
        assert trained == [*renderer.answer_ids("hate"), renderer.tokenizer.eos_token_id]
    assert renderer.prompt(one).text == "a post:" and renderer.tokenizer.decode(trained) == " hate<|im_end|>"


def test_the_fingerprint_changes_with_whatever_changes_prompts(renderer: Renderer, tmp_path: Path) -> None:
    def fingerprint(values: dict, template: str | None = None) -> str:
        tokenizer = build_tokenizer() if template is None else build_tokenizer(template)
        return Renderer(SFTConfig.model_validate(values), tokenizer).fingerprint()

    base = fingerprint({"prompt": {"system": "hate or normal?"}})
    assert base == renderer.fingerprint()
    others = [
        fingerprint({"prompt": {"system": "hate or normal"}}),
        fingerprint({"prompt": {"system": "hate or normal?", "user": "Post: {text}"}}),
        fingerprint({"prompt": {"system": "hate or normal?"}, "task": {"labels": ["a", "b"]}}),
        fingerprint({"prompt": {"system": "hate or normal?"}}, "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    ]
    assert len({base, *others}) == 5


def test_an_answer_ends_at_the_end_of_turn_also_where_that_is_not_the_end_of_text() -> None:
    """Llama 3 and Gemma end a turn with a token of its own; training has both, and an answer is read up to the first."""
    from sftlib.infer.generating import Generator

    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|eot_id|>"]})
    config = SFTConfig.model_validate({"prompt": {"template": "llama3"}, "predict": {"max_new_tokens": 64}})
    renderer = Renderer(config, tokenizer)
    eot, eos = tokenizer.convert_tokens_to_ids("<|eot_id|>"), tokenizer.eos_token_id
    row = renderer.row(sample("a post"))
    assert row.labels[-2:] == [eot, eos] and (renderer.end_id, renderer.stop_ids) == (eot, sorted([eot, eos]))
    learnt = [label for label in row.labels if label != IGNORED]
    assert learnt == [*renderer.answer_ids("hate"), eot, eos]
    answer = Generator(SimpleNamespace(), renderer, config)._answer(learnt)
    assert (answer.raw, answer.reason) == ("hate", None)
