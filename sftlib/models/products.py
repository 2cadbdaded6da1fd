"""Matrix products of linear layers on a CPU: oneDNN where PyTorch's own BLAS runs at half the processor's speed.

MKL serves AMD processors with its AVX2 kernels though they have AVX-512; oneDNN, which PyTorch carries too, takes what the
processor has. Both compute in float32; only the order of the sums differs. The choice follows from the processor and not
from a measurement, so that a training that goes on, or is repeated, goes on with the same products.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.nn.functional import linear

from sftlib.artifacts.host import cpu_vendor
from sftlib.config.model import Products

_ROWS = 8  # below, the weights' way from memory is what takes time, and BLAS is as fast
_onednn = torch.ops.mkldnn._linear_pointwise


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x W^T by oneDNN."""
    return _onednn(x, weight, None, "none", [], "")


def speed_up_products(model: Any, wanted: Products = "auto") -> Products:
    """Let the linear layers of this model take the faster products; says which they take."""
    if wanted == "blas" or (wanted == "auto" and not has_slow_blas()):
        return "blas"
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = OneDnnLinear
    return "onednn"


def extend_products(model: Any) -> None:
    """Layers that were added since, an adapter's, take the products that the base takes."""
    if any(isinstance(module, OneDnnLinear) for module in model.modules()):
        speed_up_products(model, "onednn")


@cache
def has_slow_blas() -> bool:
    """Whether float32 products of PyTorch's BLAS leave half of this processor unused."""
    return (
        cpu_vendor() in ("AuthenticAMD", "HygonGenuine")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
    )


class OneDnnLinear(torch.nn.Linear):
    """A linear layer like any other: same weights, same names, same answers but for rounding."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not _is_ours(input, self.weight):
            return linear(input, self.weight, self.bias)
        out = _Product.apply(input, self.weight)
        return out if self.bias is None else out + self.bias


def _is_ours(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Plain float32 on the CPU, many rows. Sharded weights, autocast and compiled layers stay with PyTorch."""
    return (
        input.device.type == weight.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and type(input) in PLAIN
        and type(weight) in PLAIN
        and not hasattr(weight, "ds_id")  # ZeRO-3: its values come and go behind autograd's back
        and has_many_rows(input)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def has_many_rows(input: torch.Tensor) -> bool:
    """As many as make oneDNN's products the faster ones; it has none of no rows at all."""
    return input.numel() >= _ROWS * input.shape[-1] > 0


PLAIN = (torch.Tensor, torch.nn.Parameter)


class _Product(torch.autograd.Function):
    """x W^T, and its gradients as products of the same kind."""

    @staticmethod
    def forward(ctx: Any, x, weight):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)
        return product(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        of_x = None if weight is None else product(grad, weight.t())
        of_weight = None
        if x is not None:
            rows = (tensor.reshape(-1, tensor.shape[-1]).t() for tensor in (grad, x))
            of_weight = product(*rows)
        return of_x, of_weight
