"""oneDNN's products are those of a linear layer: values, gradients, names, adapters."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sftlib.models import products
from sftlib.models.products import OneDnnLinear, extend_products, speed_up_products
from tests.tiny import SHAPES, build_shape


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64, 48), (4, 16, 48), (2, 48), (0, 48)])
def test_values_and_gradients_are_those_of_float64(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    exact = torch.nn.Linear(48, 40, bias=bias, dtype=torch.float64)
    fast = copy.deepcopy(exact).float()
    speed_up_products(fast, "onednn")
    assert type(fast) is OneDnnLinear
    given = torch.randn(shape, dtype=torch.float64)
    found = []
    for layer in (exact, fast):
        x = given.to(layer.weight.dtype, copy=True).requires_grad_()
        out = layer(x)
        out.square().sum().backward()
        found.append([out, x.grad, layer.weight.grad, *([layer.bias.grad] if bias else [])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one.float(), rtol=1e-4, atol=1e-4)


def test_rows_that_lie_scattered_in_memory() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 40, bias=False)
    wide = (
        torch.randn(96, 64).t()[:, :48],
        torch.randn(8, 64, 48).transpose(0, 1),
        torch.randn(1, 1, 48).expand(4, 8, 48),
    )
    plain = [layer(x) for x in wide]
    speed_up_products(layer, "onednn")
    for x, expected in zip(wide, plain, strict=True):
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_model_says_the_same_and_learns_the_same(name: str, tmp_path: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(build_shape(tmp_path, name), dtype=torch.float32)
    fast = copy.deepcopy(plain)
    assert speed_up_products(fast, "onednn") == "onednn"
    ids = torch.randint(5, 60, (3, 20))
    for model in (plain, fast):
        model(input_ids=ids, labels=ids).loss.backward()
    assert list(plain.state_dict()) == list(fast.state_dict())
    for (key, one), other in zip(plain.named_parameters(), fast.parameters(), strict=True):
        if one.grad is not None:
            error = (other.grad - one.grad).norm() / one.grad.norm().clamp_min(1e-12)
            assert error < 1e-5, key


def test_an_adapter_takes_the_products_of_its_base_and_none_else(tmp_path: Path) -> None:
    folder = build_shape(tmp_path, "qwen3")

    def adapted(is_fast: bool) -> list[bool]:
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        if is_fast:
            speed_up_products(base, "onednn")
        model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        extend_products(model)
        return [type(module) is OneDnnLinear for module in model.modules() if isinstance(module, torch.nn.Linear)]

    assert all(adapted(True)) and not any(adapted(False))


def test_half_precision_and_autocast_stay_with_pytorch() -> None:
    layer = torch.nn.Linear(48, 40)
    speed_up_products(layer, "onednn")
    assert layer.bfloat16()(torch.randn(16, 48, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(torch.randn(16, 48)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("wanted", "is_slow", "taken"),
    [("auto", True, "onednn"), ("auto", False, "blas"), ("blas", True, "blas"), ("onednn", False, "onednn")],
)
def test_which_products_are_taken(monkeypatch: pytest.MonkeyPatch, wanted: str, is_slow: bool, taken: str) -> None:
    monkeypatch.setattr(products, "has_slow_blas", lambda: is_slow)
    layer = torch.nn.Linear(8, 8)
    assert speed_up_products(layer, wanted) == taken  # type: ignore[arg-type]
    assert (type(layer) is OneDnnLinear) is (taken == "onednn")
