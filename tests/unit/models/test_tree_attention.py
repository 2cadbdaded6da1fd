"""The kernel over segments is attention under their mask: in value, and in the gradient of everything."""

from __future__ import annotations

import pytest
import torch

from sftlib.models.tree_attention import block_mask, dense_attention, tree_attention, visible

# start, end, until, first position: a prefix, a longer prefix within it with two records, a record, and one apart
TREE = [[0, 20, 60, 0], [20, 34, 50, 20], [34, 43, 43, 34], [43, 50, 50, 34], [50, 60, 60, 20], [60, 75, 75, 0]]
FLAT = [[0, 20, 20, 0], [20, 21, 21, 0], [21, 75, 75, 0]]


class Module(torch.nn.Module):
    num_key_value_groups = 3


def inputs(heads: int = 6, groups: int = 2, size: int = 16, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = [(1, 75, heads, size), (1, 75, groups, size), (1, 75, groups, size)]
    return [torch.randn(shape).transpose(1, 2).to(dtype).detach().requires_grad_() for shape in shapes]


@pytest.mark.parametrize("segments", [TREE, FLAT], ids=["tree", "flat"])
@pytest.mark.parametrize("window", [None, 100, 25, 12, 3, 1])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_value_and_gradients_are_those_of_the_whole_mask(segments: list, window: int | None, with_sinks: bool) -> None:
    table = torch.tensor(segments, dtype=torch.int32)[None, None]
    sinks = torch.randn(6, requires_grad=True) if with_sinks else None
    given = [*inputs(), *([sinks] if with_sinks else [])]
    weights = torch.randn(1, 75, 6, 16)
    got, _ = tree_attention(Module(), *given[:3], table, scaling=0.3, sliding_window=window, s_aux=sinks)
    ours = torch.autograd.grad((got * weights).sum(), given)
    wanted = dense_attention(*given[:3], visible(table, 75, window), 0.3, sinks)
    theirs = torch.autograd.grad((wanted * weights).sum(), given)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("window", [None, 12])
def test_flex_attention_is_given_the_same_mask(window: int | None) -> None:
    from torch.nn.attention.flex_attention import create_mask

    table = torch.tensor(TREE, dtype=torch.int32)[None, None]
    mask = block_mask(table, 75, window, compiled=False)
    whole = create_mask(mask.mask_mod, None, None, 75, 75, device="cpu")[0, 0]
    assert torch.equal(whole.bool(), visible(table, 75, window))


def test_bfloat16_is_near() -> None:
    table = torch.tensor(TREE, dtype=torch.int32)[None, None]
    given = inputs(dtype=torch.bfloat16)
    got, _ = tree_attention(Module(), *given, table)
    wanted = dense_attention(*given, visible(table, 75))
    torch.testing.assert_close(got, wanted, rtol=3e-2, atol=3e-2)


def test_an_ordinary_mask_is_ordinary_attention() -> None:
    given = inputs()
    mask = torch.ones(75, 75, dtype=torch.bool).tril()
    wanted = dense_attention(*given, mask)
    for form in (None, mask[None, None]):
        torch.testing.assert_close(tree_attention(Module(), *given, form)[0], wanted, rtol=1e-5, atol=1e-5)
    sinks = torch.randn(6)
    torch.testing.assert_close(
        tree_attention(Module(), *given, None, s_aux=sinks)[0], dense_attention(*given, mask, None, sinks)
    )
