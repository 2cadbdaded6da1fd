"""LoRA layers by our way and by PEFT's, on a GPU where there is one, on a CPU anywhere: as near to the exact answer, and no
more memory.

On a GPU: pytest -m gpu tests/gpu/test_adapter_layers.py -s
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from sftlib.models.low_rank import speed_up_adapters

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SIZES = {"cpu": (96, 256, 192), "cuda": (4096, 4096, 14336)}  # rows, inputs, outputs


class Layer(torch.nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def build(device: str, dropout: float) -> tuple[Any, torch.Tensor]:
    rows, inputs, outputs = SIZES[device]
    torch.manual_seed(0)
    lora = LoraConfig(r=16, lora_alpha=24, lora_dropout=dropout, target_modules=["linear"], init_lora_weights=False)
    model = get_peft_model(Layer(inputs, outputs), lora).to(device)
    model.base_model.model.linear.base_layer.bfloat16()
    return model, torch.randn(1, rows, inputs, device=device).bfloat16()


def learnt(model: Any, x: torch.Tensor, *, is_exact: bool = False) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=not is_exact):
        out = model(x)
    (out.double() / 100).square().sum().backward()
    found = [out.detach(), x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]
    model.zero_grad()
    return [value.double() for value in found]


def distances(found: list[torch.Tensor], exact: list[torch.Tensor]) -> list[float]:
    return [float((one - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)]


@pytest.mark.parametrize("device", DEVICES)
def test_16_bit_answers_are_as_near_to_the_exact_ones_as_pefts(device: str) -> None:
    peft, x = build(device, 0.0)
    exact = learnt(copy.deepcopy(peft).double(), x.double(), is_exact=True)
    ours = copy.deepcopy(peft)
    assert speed_up_adapters(ours) == 1
    theirs, mine = distances(learnt(peft, x), exact), distances(learnt(ours, x), exact)
    assert len(mine) == 4 and 0 < max(theirs) < 0.05
    assert all(one <= 1.2 * other + 1e-4 for one, other in zip(mine, theirs, strict=True)), (mine, theirs)


@pytest.mark.gpu
@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_no_more_memory_and_what_time(dropout: float) -> None:
    found = {}
    for name in ("peft", "ours"):
        model, x = build("cuda", dropout)
        if name == "ours":
            speed_up_adapters(model)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for step in range(22):
            if step == 2:
                torch.cuda.reset_peak_memory_stats()
                start.record()
            given = x.clone().requires_grad_()
            with torch.autocast("cuda", torch.bfloat16):
                out = model(given)
            out.backward(torch.ones_like(out))
            model.zero_grad()
        end.record()
        torch.cuda.synchronize()
        found[name] = (torch.cuda.max_memory_allocated(), start.elapsed_time(end) / 20)
        del model, x, given, out
    print(f"\ndropout {dropout}: bytes and ms of forward and backward: {found}")
    assert found["ours"][0] <= found["peft"][0]
