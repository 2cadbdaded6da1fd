"""The low-rank part of a LoRA layer, added without copies of what is wide.

PEFT casts the layer's input for each adapter and keeps the copy, or the one that dropout makes, with its mask; it scales the wide
product and adds it in passes of their own. Here the gradients are worked out from the input as it came, the mask and the thin
product. The arithmetic is PEFT's, in the same number types. Anything but plain LoRA on a linear layer stays PEFT's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft.import_utils import is_bnb_available
from peft.tuners import lora
from torch.nn.functional import linear

from sftlib.models.products import PLAIN, OneDnnLinear, has_many_rows, product


def speed_up_adapters(model: Any) -> int:
    """Let the LoRA layers of this model add their part as here; how many do."""
    chosen = [module for module in model.modules() if type(module) in _OURS]
    for module in chosen:
        module.__class__ = _OURS[type(module)]
    return len(chosen)


class _LowRank:
    """Before a layer class of PEFT: same weights, same names, same answers but for rounding."""

    def forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        name = None if args or kwargs else _plain_adapter(self)
        if name is None:
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        out = self.base_layer(x)
        down, up = self.lora_A[name], self.lora_B[name]
        dtype = _computed(x, down.weight)
        is_fast = type(down) is OneDnnLinear and dtype == torch.float32 and has_many_rows(x)
        multiply = product if is_fast else linear
        part = Part(self.scaling[name], _dropped(self.lora_dropout[name]), dtype, multiply)
        return _Added.apply(out, x, down.weight, up.weight, part)


_PEFTS = [lora.Linear, *([lora.Linear4bit, lora.Linear8bitLt] if is_bnb_available() else [])]
_OURS = {kind: type(f"LowRank{kind.__name__}", (_LowRank, kind), {}) for kind in _PEFTS}


def _plain_adapter(layer: Any) -> str | None:
    """The one adapter that is to be added, where it is two matrices, whole and here, and nothing else."""
    active = layer.active_adapters
    if len(active) != 1 or layer.disable_adapters or layer.merged or torch.compiler.is_compiling():
        return None
    (name,) = active
    if name not in layer.lora_A or name in layer.lora_variant:
        return None
    return name if _is_bare(layer.lora_A[name]) and _is_bare(layer.lora_B[name]) else None


def _is_bare(module: Any) -> bool:
    """A matrix that may be used past its module: nothing gathers it there (ZeRO-3, FSDP), nothing is added to it."""
    return (
        type(module) in (torch.nn.Linear, OneDnnLinear)
        and module.bias is None
        and type(module.weight) in PLAIN
        and not hasattr(module.weight, "ds_id")
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )


def _computed(x: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """The type of the products, as PEFT has it: the adapter's own, or autocast's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _dropped(dropout: torch.nn.Module) -> float:
    """The share of inputs that dropout leaves out here and now."""
    return dropout.p if isinstance(dropout, torch.nn.Dropout) and dropout.training else 0.0


@dataclass(frozen=True)
class Part:
    """How an adapter's part is computed."""

    scale: float
    dropped: float
    dtype: torch.dtype
    multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # x, W -> x W^T


class _Added(torch.autograd.Function):
    """base + scale (dropout(x) A^T) B^T"""

    @staticmethod
    def forward(ctx: Any, base, x, down, up, part):  # type: ignore[no-untyped-def]
        rows, mask = x.reshape(-1, x.shape[-1]), None
        inputs = rows.to(part.dtype)
        narrower = inputs if inputs.element_size() < rows.element_size() else rows
        if part.dropped:
            inputs, mask = torch.native_dropout(inputs, part.dropped, True)
        thin = part.multiply(inputs, down.to(part.dtype)).mul_(part.scale)
        out = part.multiply(thin, up.to(part.dtype)).to(torch.promote_types(base.dtype, part.dtype))
        out = out.add_(base.reshape(out.shape).to(out.dtype)).to(base.dtype)
        ctx.save_for_backward(narrower, mask, thin, down, up)
        ctx.part, ctx.like = part, (x.shape, x.dtype)
        # No view, which could not be changed in place: some models do that with what a layer gives them.
        return torch.ops.aten._unsafe_view(out, base.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad):  # type: ignore[no-untyped-def]
        rows, mask, thin, down, up = ctx.saved_tensors
        part = ctx.part
        _, for_x, for_down, for_up, _ = ctx.needs_input_grad
        wide = grad.reshape(-1, grad.shape[-1]).to(part.dtype)
        of_x = of_down = of_up = None
        if for_x or for_down:
            narrow = part.multiply(wide, up.to(part.dtype).t()).mul_(part.scale)
        if for_x:
            of_x = part.multiply(narrow, down.to(part.dtype).t())
            shape, kind = ctx.like
            of_x = _masked(of_x, mask, part.dropped).to(kind).reshape(shape)
        if for_down:
            inputs = _masked(rows.to(part.dtype), mask, part.dropped)
            of_down = part.multiply(narrow.t(), inputs.t()).to(down.dtype)
        if for_up:  # by its transpose: products with few rows are faster than those with few columns
            of_up = part.multiply(thin.t(), wide.t()).t().to(up.dtype).contiguous()
        return grad, of_x, of_down, of_up, None


def _masked(values: torch.Tensor, mask: torch.Tensor | None, dropped: float) -> torch.Tensor:
    return values if mask is None else torch.ops.aten.native_dropout_backward(values, mask, 1 / (1 - dropped))
