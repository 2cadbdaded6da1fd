"""Attention over a row laid out as a tree (sftlib/data/layout.py), as an attention implementation of transformers.

The segments travel in place of the 4-D attention mask, which every model hands on as it is. On a CPU each segment attends
to itself, and all that lies behind it attends to it, by the flash kernel without a mask; the parts are merged by their
log-sum-exp. Giving the kernel's backward the merged output and log-sum-exp makes each part's gradient exact, so nothing
of the size of row x row is ever made. On a GPU the same segments become a FlexAttention block mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "sftlib_tree"
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def register() -> str:
    """Make the implementation known to transformers; returns its name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # for generation within training: an ordinary mask, ordinary rows
    return NAME


@torch.compiler.disable  # reads the segments as numbers: a compiled layer calls it as it is
def tree_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None, softcap: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """The attention function that models call; with an ordinary mask it is SDPA."""
    if not is_segments(attention_mask):
        if s_aux is None:
            from transformers.integrations.sdpa_attention import sdpa_attention_forward

            return sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, softcap=softcap, **kwargs
            )
        return dense_attention(query, key, value, _ordinary(query, key, attention_mask), scaling, s_aux), None
    segments: Any = attention_mask
    if query.is_cuda:
        return _on_gpu(module, query, key, value, segments, scaling, sliding_window, s_aux, softcap)
    if not query.is_cpu or softcap is not None or value.shape[-1] != key.shape[-1]:
        mask = visible(segments, query.shape[2], sliding_window)
        return dense_attention(query, key, value, mask, scaling, s_aux, softcap), None
    table = [tuple(row) for row in segments[0, 0].tolist()]
    return _Merged.apply(query, key, value, s_aux, table, scaling, sliding_window).transpose(1, 2), None


def is_segments(mask: torch.Tensor | None) -> bool:
    return mask is not None and mask.dtype == torch.int32 and mask.ndim == 4 and mask.shape[-1] == 4


def visible(segments: torch.Tensor, length: int, window: int | None = None) -> torch.Tensor:
    """The whole mask, row x row: what the kernels must amount to."""
    until, positions = per_token(segments, length)
    here = torch.arange(length, device=segments.device)
    mask = (here[None, :] <= here[:, None]) & (here[:, None] < until[None, :])
    if window is not None:
        mask &= positions[:, None] - positions[None, :] < window
    return mask


def per_token(segments: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each token, the end of what may see it, and its position in its record."""
    start, end, until, first = segments[0, 0].long().unbind(1)
    shift = torch.repeat_interleave(first - start, end - start, output_size=length)
    until = torch.repeat_interleave(until, end - start, output_size=length)
    return until, shift + torch.arange(length, device=segments.device)


def dense_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor,
    scaling: float | None = None, sinks: torch.Tensor | None = None, softcap: float | None = None,
) -> torch.Tensor:  # fmt: skip
    """Attention under a boolean mask, by its definition where SDPA has no word for it; returns batch, row, head, size."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if sinks is None and softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling).transpose(1, 2)
    scores = (query @ key.transpose(2, 3)).float() * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        column = sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    shares = scores.softmax(-1)[..., : key.shape[2]]
    return (shares.to(value.dtype) @ value).transpose(1, 2)


def _ordinary(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is not None:
        return mask if mask.dtype == torch.bool else mask >= 0
    rows, columns = query.shape[2], key.shape[2]
    return torch.ones(rows, columns, dtype=torch.bool, device=query.device).tril(columns - rows)


@dataclass(frozen=True)
class _Part:
    """A stretch of queries that sees a stretch of keys: wholly, causally, or by a mask."""

    queries: slice
    keys: slice
    is_causal: bool = False
    mask: torch.Tensor | None = None  # additive, where a sliding window cuts through


def _parts(table: list[tuple[int, ...]], window: int | None, dtype: torch.dtype) -> Iterator[_Part]:
    """First each segment on itself, which writes; then what lies behind it, which is merged in."""
    positions = torch.cat([torch.arange(first, first + end - start) for start, end, _, first in table])
    for start, end, _, _ in table:
        own = slice(start, end)
        if window is None or end - start <= window:
            yield _Part(own, own, is_causal=True)
        else:
            yield _Part(own, own, mask=_window(positions[own], positions[own], window, dtype))
    for start, end, until, _ in table:
        own, behind = slice(start, end), slice(end, until)
        if until == end:
            continue
        if window is None or int(positions[behind].max()) - int(positions[start]) < window:
            yield _Part(behind, own)
        elif int(positions[behind].min()) - int(positions[end - 1]) < window:
            yield _Part(behind, own, mask=_window(positions[behind], positions[own], window, dtype))


def _window(queries: torch.Tensor, keys: torch.Tensor, window: int, dtype: torch.dtype) -> torch.Tensor:
    distance = queries[:, None] - keys[None, :]
    mask = torch.zeros(distance.shape, dtype=dtype)
    return mask.masked_fill_((distance >= window) | (distance < 0), float("-inf"))


class _Merged(torch.autograd.Function):
    """Parts by the flash kernel, merged by log-sum-exp; a sink is one more key without a value."""

    @staticmethod
    def forward(ctx: Any, query, key, value, sinks, table, scaling, window):  # type: ignore[no-untyped-def]
        batch, heads, length, size = query.shape
        out = query.new_empty(batch, length, heads, size).transpose(1, 2)
        total = query.new_empty(batch, length, heads, dtype=torch.float32).transpose(1, 2)
        for part in _parts(table, window, query.dtype):
            q, k = part.queries, part.keys
            piece, weight = _flash(query[:, :, q], key[:, :, k], value[:, :, k], 0.0, part.is_causal,
                                   attn_mask=part.mask, scale=scaling)  # fmt: skip
            if part.mask is not None:  # the kernel says 0 for a query that sees nothing
                weight = weight.masked_fill((part.mask == float("-inf")).all(-1), float("-inf"))
            if q == k:
                out[:, :, q], total[:, :, q] = piece, weight
            else:
                _merge(out[:, :, q], total[:, :, q], piece, weight)
        if sinks is not None:
            _merge(out, total, None, sinks.float().reshape(1, -1, 1).expand_as(total))
        ctx.save_for_backward(query, key, value, sinks, out, total)
        ctx.table, ctx.scaling, ctx.window = table, scaling, window
        return out

    @staticmethod
    def backward(ctx: Any, grad):  # type: ignore[no-untyped-def]
        query, key, value, sinks, out, total = ctx.saved_tensors
        grads = [torch.zeros_like(tensor) for tensor in (query, key, value)]
        for part in _parts(ctx.table, ctx.window, query.dtype):
            q, k = part.queries, part.keys
            pieces = _flash_backward(
                grad[:, :, q], query[:, :, q], key[:, :, k], value[:, :, k], out[:, :, q], total[:, :, q], 0.0,
                part.is_causal, attn_mask=part.mask, scale=ctx.scaling,
            )  # fmt: skip
            for whole, piece, where in zip(grads, pieces, (q, k, k), strict=True):
                whole[:, :, where] += piece
        of_sinks = None
        if sinks is not None and ctx.needs_input_grad[3]:
            share = torch.exp(sinks.float().reshape(1, -1, 1) - total)
            of_sinks = -(share * (grad.float() * out.float()).sum(-1)).sum((0, 2)).to(sinks.dtype)
        return *grads, of_sinks, None, None, None


def _merge(out: torch.Tensor, total: torch.Tensor, piece: torch.Tensor | None, weight: torch.Tensor) -> None:
    """Softmax over two sets of keys out of the softmax over each."""
    merged = torch.logaddexp(total, weight)
    out *= torch.exp(total - merged)[..., None].to(out.dtype)
    if piece is not None:
        out += piece * torch.exp(weight - merged)[..., None].to(out.dtype)
    total.copy_(merged)


def block_mask(segments: torch.Tensor, length: int, window: int | None, *, compiled: bool = True) -> Any:
    """The same visibility for FlexAttention."""
    from torch.nn.attention.flex_attention import create_block_mask

    until, positions = per_token(segments, length)

    def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
        seen = (key <= query) & (query < until[key])
        return seen if window is None else seen & (positions[query] - positions[key] < window)

    make = torch.compile(create_block_mask) if compiled else create_block_mask
    return make(sees, None, None, length, length, device=str(segments.device))


_prepared: dict[tuple[int, int | None], tuple[torch.Tensor, Any]] = {}


def _on_gpu(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: torch.Tensor,
    scaling: float | None, window: int | None, sinks: torch.Tensor | None, softcap: float | None,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    known = _prepared.get((id(segments), window))
    if known is None or known[0] is not segments:  # all layers of a step ask with the same tensor
        if len(_prepared) > 8:
            _prepared.clear()
        known = (segments, _for_gpu(query, segments, window, sinks is None and softcap is None))
        _prepared[id(segments), window] = known
    if type(known[1]) is tuple:
        edges, longest = known[1]
        return _varlen(query, key, value, edges, longest, scaling, window), None
    from transformers.integrations.flex_attention import flex_attention_forward

    return flex_attention_forward(module, query, key, value, known[1], scaling, softcap, s_aux=sinks)[0], None


def _for_gpu(query: torch.Tensor, segments: torch.Tensor, window: int | None, is_plain: bool) -> Any:
    """Cumulative lengths for PyTorch's varlen kernel where nothing is shared and the kernel can; else a block mask."""
    start, end, until, _ = segments[0, 0].unbind(1)
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    if is_plain and is_half and torch.cuda.get_device_capability()[0] >= 8 and bool((until == end).all()):
        return torch.cat([start[:1], end]).int(), int((end - start).max())
    return block_mask(segments, query.shape[2], window)


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, edges: torch.Tensor, longest: int,
    scaling: float | None, window: int | None,
) -> torch.Tensor:  # fmt: skip
    from torch.nn.attention import varlen

    kernel: Any = varlen.varlen_attn
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    sides = (-1 if window is None else window - 1, 0)
    grouped = query.shape[1] != key.shape[1]
    return kernel(q, k, v, edges, edges, longest, longest, scale=scaling, window_size=sides, enable_gqa=grouped)[None]
