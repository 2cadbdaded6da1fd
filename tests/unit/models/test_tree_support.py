"""Models that can read flat rows do; those that cannot are refused with the reason; a leak is found before it trains."""

from __future__ import annotations

import pytest

from sftlib.models import tree_attention, tree_support
from sftlib.models.tree_support import use_tree_attention
from tests.shapes import build_shape


@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral", "gemma", "gemma2", "gpt_oss"])
def test_the_known_shapes_pass_the_proof(shape: str) -> None:
    model = build_shape(shape)
    assert use_tree_attention(model) is None
    assert model.config._attn_implementation == tree_attention.NAME


def test_attention_dropout_is_refused() -> None:
    assert "attention_dropout = 0.1" in str(use_tree_attention(build_shape("llama", attention_dropout=0.1)))


def test_state_that_is_not_attention_is_refused() -> None:
    model = build_shape("llama")
    model.config.layer_types = ["linear_attention", "full_attention"]
    assert "linear_attention" in str(use_tree_attention(model))


def test_a_leak_is_found_and_the_model_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree_attention._parts

    def leaking(table, window, dtype):
        yield from whole([(start, end, table[-1][1], first) for start, end, _, first in table], window, dtype)

    monkeypatch.setattr(tree_attention, "_parts", leaking)
    model = build_shape("llama")
    before = model.config._attn_implementation
    assert "not read as they are alone" in str(tree_support.use_tree_attention(model))
    assert model.config._attn_implementation == before
