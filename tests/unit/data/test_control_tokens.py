"""What a record's text spells never becomes a control token, and nothing else changes by that care."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftlib.config.tree import SFTConfig
from sftlib.data.control_tokens import ControlTokens, TextEncoder
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.data.samples import Sample
from sftlib.data.templates import TemplateRegistry
from sftlib.errors import DataError
from tests.tiny import TEMPLATE, build_tokenizer
from tests.tokenizers_of_all_kinds import KINDS, build

TOKENIZER = build_tokenizer()
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
# Texts that are made of control tokens, of parts of them, and of what else people write.
TEXTS = st.lists(
    st.sampled_from([*SPECIALS, "<|im_", "end|>", "<", "|>", "### Output", "\n", "  ", "a post", "🙂", "شكرا", "\x00", "\ue000", "é"])
    | st.text(max_size=4),
    max_size=8,
).map("".join)  # fmt: skip


def renderer(template: str = "chatml", **train: Any) -> Renderer:
    return Renderer(SFTConfig.model_validate({"prompt": {"template": template}, "train": train}), TOKENIZER)


RENDERERS = {name: renderer(name) for name in TemplateRegistry.sources}


def of_template(row_ids: list[int]) -> int:
    return sum(row_ids.count(TOKENIZER.convert_tokens_to_ids(token)) for token in SPECIALS)


@pytest.mark.parametrize("name", RENDERERS)
@given(system=TEXTS, user=TEXTS, answer=TEXTS.filter(str.strip))
@settings(max_examples=60, deadline=None)
def test_a_record_cannot_write_control_tokens(name: str, system: str, user: str, answer: str) -> None:
    harmless = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    spoken = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    expected = of_template(RENDERERS[name].row(Sample("s", harmless, "a")).ids)
    row = RENDERERS[name].row(Sample("s", spoken, answer))
    assert of_template(row.ids) == expected
    prompt = RENDERERS[name].prompt(Sample("s", spoken, None))
    assert row.ids[: len(prompt.ids)] == prompt.ids
    # Nothing is lost: what the tokens spell is what was rendered.
    assert TOKENIZER.decode(prompt.ids) == prompt.text
    assert row.labels[: len(prompt.ids)] == [IGNORED] * len(prompt.ids)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=40))
@settings(max_examples=40, deadline=None)
def test_the_renamed_tokenizer_is_the_tokenizer(kind: str, text: str) -> None:
    """On texts whose only control tokens are the template's, both give the same ids."""
    tokenizer = build(kind)
    control = ControlTokens(tokenizer, TEMPLATE)
    if control.guard(text) != text:
        return
    eos = tokenizer.eos_token
    whole = f"{eos}{text}{eos}\n{text}"
    renamed = control.renamed_backend.encode(control.renamed(whole), add_special_tokens=False).ids
    assert renamed == TextEncoder(control).ids([whole])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tokenizer_keeps_a_records_tokens_ordinary(kind: str) -> None:
    tokenizer = build(kind)
    one = Renderer(SFTConfig.model_validate({"prompt": {"template": "zephyr"}}), tokenizer)
    eos, eos_id = tokenizer.eos_token, tokenizer.eos_token_id
    row = one.row(Sample("s", [{"role": "user", "content": f"a{eos}b {eos}"}], f"c{eos}"))
    assert row.ids.count(eos_id) == 2  # of the user's turn, and of the answer
    assert row.ids[-1] == row.labels[-1] == eos_id


def test_reasoning_of_an_answer_may_use_the_templates_words() -> None:
    tokenizer = build_tokenizer(TEMPLATE.replace("{% for", "{# <think> #}{% for"))
    tokenizer.add_tokens(["<think>"])
    think = tokenizer.convert_tokens_to_ids("<think>")
    one = Renderer(SFTConfig.model_validate({}), tokenizer)
    row = one.row(Sample("s", [{"role": "user", "content": "<think> of it"}], "<think>well"))
    assert row.ids.count(think) == 1 and think in row.labels


def test_half_a_surrogate_pair_is_named() -> None:
    with pytest.raises(DataError, match="expected valid Unicode"):
        renderer().row(Sample("s", [{"role": "user", "content": "a \ud83d"}], "b"))


def test_rows_are_what_row_gives() -> None:
    samples = [
        Sample(str(i), [{"role": "user", "content": text}], "fine")
        for i, text in enumerate(["a", "b <|im_end|>", "", "c" * 90, "<|im_start|>"])
    ]
    for mode in ("completion", "assistant", "all"):
        one = renderer(loss_on=mode)
        assert one.rows(samples) == [one.row(sample) for sample in samples]
        assert one.prompts(samples) == [one.prompt(sample) for sample in samples]


def test_a_renderer_works_the_same_in_another_process() -> None:
    samples = [Sample("s", [{"role": "user", "content": "a <|im_end|> b"}], "fine <|im_end|>")]
    here = renderer()
    expected = here.rows(samples)  # the copy of the tokenizer is made by now
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(here.rows, samples).result() == expected
