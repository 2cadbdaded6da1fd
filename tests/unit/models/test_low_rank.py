"""Our way to add an adapter's part says and learns what PEFT's does, and steps aside where an adapter is more than that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from sftlib.models import low_rank
from sftlib.models.low_rank import speed_up_adapters
from sftlib.models.products import OneDnnLinear, extend_products, speed_up_products

WIDE, OUT = 48, 40


class Model(torch.nn.Module):
    """Two layers, so that one of them has an input that wants a gradient and one has none."""

    def __init__(self, linear: Callable[[int, int], torch.nn.Module]) -> None:
        super().__init__()
        self.first, self.second = linear(WIDE, WIDE), linear(WIDE, OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


BASES: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "linear": torch.nn.Linear, "no bias": lambda i, o: torch.nn.Linear(i, o, bias=False), "gpt2": lambda i, o: Conv1D(o, i),
}  # fmt: skip


def adapted(linear: Callable[[int, int], torch.nn.Module], dtype: torch.dtype = torch.float32, **lora: Any) -> Any:
    torch.manual_seed(0)
    settings = {"r": 5, "lora_alpha": 7, "lora_dropout": 0.0, "init_lora_weights": False, **lora}
    model = get_peft_model(Model(linear).to(dtype), LoraConfig(target_modules=["first", "second"], **settings))
    for name, parameter in model.named_parameters():
        if "lora_" in name and dtype == torch.bfloat16:
            parameter.data = parameter.data.float()  # as PEFT has them in a transformers model
    return model


def learnt(model: Any, x: torch.Tensor, autocast: bool = False) -> dict[str, torch.Tensor]:
    model.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x)
    out.float().square().sum().backward()
    grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert len(grads) == sum(parameter.requires_grad for parameter in model.parameters())
    return {"out": out.detach(), "x": x.grad, **grads}


def assert_like(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], limit: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        assert float((found[name].float() - value.float()).norm() / value.float().norm()) < limit, name


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("shape", [(64, WIDE), (4, 16, WIDE), (1, 1, WIDE)])
@pytest.mark.parametrize(
    ("dtype", "autocast", "limit"),
    [(torch.float32, False, 1e-6), (torch.bfloat16, False, 0.01), (torch.bfloat16, True, 0.02), (torch.float32, True, 0.02)],
)  # fmt: skip
def test_says_and_learns_what_peft_does(
    base: str, shape: tuple[int, ...], dtype: torch.dtype, autocast: bool, limit: float
) -> None:
    plain = adapted(BASES[base], dtype)
    ours = copy.deepcopy(plain)
    assert speed_up_adapters(ours) == 2
    x = torch.randn(shape, dtype=dtype)
    assert type(ours(x).grad_fn).__name__ == "_AddedBackward"
    assert_like(learnt(ours, x, autocast), learnt(plain, x, autocast), limit)


def test_a_wrong_scale_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = adapted(torch.nn.Linear)
    ours = copy.deepcopy(plain)
    speed_up_adapters(ours)
    ours.base_model.model.second.scaling["default"] *= 1.001
    with pytest.raises(AssertionError):
        assert_like(learnt(ours, x := torch.randn(64, WIDE)), learnt(plain, x), 1e-6)


def test_with_the_faster_products() -> None:
    plain = adapted(torch.nn.Linear)
    ours = copy.deepcopy(plain)
    speed_up_products(ours.base_model.model.first.base_layer, "onednn")
    ours.base_model.model.first.base_layer.__class__ = OneDnnLinear
    extend_products(ours)
    speed_up_adapters(ours)
    assert type(ours.base_model.model.first.lora_A["default"]) is OneDnnLinear
    x = torch.randn(64, WIDE)
    assert_like(learnt(ours, x), learnt(plain, x), 1e-5)


def test_no_rows_at_all_with_the_faster_products() -> None:
    """An adapter on the head, and no supervised place in a batch."""
    plain = adapted(torch.nn.Linear)
    ours = copy.deepcopy(plain)
    for layer in (ours.base_model.model.first, ours.base_model.model.second):
        speed_up_products(layer, "onednn")
    speed_up_adapters(ours)
    none = torch.randn(0, WIDE)
    for one, other in zip(learnt(ours, none).values(), learnt(plain, none).values(), strict=True):
        torch.testing.assert_close(one, other)


def test_what_a_layer_gives_may_be_changed_in_place() -> None:
    """Falcon adds to it, OLMo clamps it."""
    found = []
    for is_ours in (False, True):
        model = adapted(torch.nn.Linear)
        if is_ours:
            speed_up_adapters(model)
        model.base_model.model.second.register_forward_hook(lambda module, given, out: out.clamp_(-0.5, 0.5))
        torch.manual_seed(2)
        found.append(learnt(model, torch.randn(4, 16, WIDE)))
    assert_like(*found, limit=1e-6)


def test_layers_that_are_computed_again_draw_the_same_dropout() -> None:
    found = []
    for is_again in (False, True):
        model = adapted(torch.nn.Linear, lora_dropout=0.3)
        speed_up_adapters(model)
        layer = model.base_model.model.second
        if is_again:
            call = layer.forward
            layer.forward = lambda x, call=call: checkpoint(call, x, use_reentrant=False)
        torch.manual_seed(2)
        found.append(learnt(model, torch.randn(64, WIDE)))
    assert_like(*found, limit=1e-6)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_on_a_quantised_base(kind: str, autocast: bool) -> None:
    import bitsandbytes as bnb

    def linear(inputs: int, outputs: int) -> torch.nn.Module:
        if kind == "int8":
            return bnb.nn.Linear8bitLt(inputs, outputs, has_fp16_weights=False)
        return bnb.nn.Linear4bit(inputs, outputs, quant_type="nf4", compute_dtype=torch.float32)

    torch.manual_seed(0)
    base = Model(linear).to("cpu")
    base.is_loaded_in_4bit, base.is_loaded_in_8bit = kind == "nf4", kind == "int8"
    settings = {"r": 5, "lora_alpha": 7, "init_lora_weights": False, "target_modules": ["first", "second"]}
    model = get_peft_model(base, LoraConfig(**settings))
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False
    x = torch.randn(64, WIDE)
    wanted = learnt(model, x, autocast)
    assert speed_up_adapters(model) == 2
    assert_like(learnt(model, x, autocast), wanted, 0.02 if autocast else 1e-6)


@pytest.mark.parametrize("autocast", [False, True])
def test_dropout_draws_what_pefts_draws(autocast: bool) -> None:
    plain = adapted(torch.nn.Linear, lora_dropout=0.3)
    ours = copy.deepcopy(plain)
    speed_up_adapters(ours)
    x, found = torch.randn(64, WIDE), []
    for model in (ours, plain):
        torch.manual_seed(1)
        found.append(learnt(model, x, autocast))
    assert_like(*found, limit=0.02 if autocast else 1e-6)


def test_dropout_drops_its_share_in_training_and_nothing_else() -> None:
    model = adapted(torch.nn.Linear, lora_dropout=0.25)
    speed_up_adapters(model)
    layer, x = model.base_model.model.second, torch.ones(4000, WIDE)
    down, up = layer.lora_A["default"], layer.lora_B["default"]
    down.weight.data.fill_(1.0), up.weight.data.fill_(1.0)
    part = (layer(x) - layer.base_layer(x)) / (layer.scaling["default"] * layer.r["default"])
    kept = part[:, 0] * 0.75  # of each row, how many inputs stayed
    torch.testing.assert_close(kept.round(), kept, atol=1e-3, rtol=0)
    assert abs(kept.mean().item() / WIDE - 0.75) < 0.01
    layer.eval()
    part = (layer(x) - layer.base_layer(x)) / (layer.scaling["default"] * layer.r["default"])
    torch.testing.assert_close(part, torch.full_like(part, WIDE))


def test_gradients_behind_dropout_are_those_of_the_inputs_that_stayed() -> None:
    model = adapted(torch.nn.Linear, torch.float64, lora_dropout=0.3)
    speed_up_adapters(model)
    layer = model.base_model.model.second
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight

    def out(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        part = low_rank.Part(1.4, 0.3, torch.float64, torch.nn.functional.linear)
        return low_rank._Added.apply(layer.base_layer(x), x, down, up, part)

    x = torch.randn(6, WIDE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(out, (x, down, up))


STEPS_ASIDE: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "DoRA": ({"use_dora": True}, lambda model: None),
    "adapters with a bias": ({"lora_bias": True}, lambda model: None),
    "switched off": ({}, lambda model: model.base_model.disable_adapter_layers()),
    "merged": ({}, lambda model: model.merge_adapter()),
    "two at once": ({}, lambda model: model.base_model.set_adapter(["default", "other"])),
    "weights that ZeRO-3 gathers": ({}, lambda model: [
        setattr(module.lora_A["default"].weight, "ds_id", 1)
        for module in (model.base_model.model.first, model.base_model.model.second)
    ]),
    "a hook that gathers weights": ({}, lambda model: [
        module.lora_A["default"].register_forward_pre_hook(lambda module, given: (2 * given[0],))
        for module in (model.base_model.model.first, model.base_model.model.second)
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS_ASIDE)
def test_steps_aside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lora, change = STEPS_ASIDE[name]
    x, found = torch.randn(64, WIDE), []
    for is_ours in (False, True):
        model = adapted(torch.nn.Linear, **lora)
        model.add_adapter("other", LoraConfig(r=3, target_modules=["first", "second"], init_lora_weights=False))
        if is_ours:
            speed_up_adapters(model)
            monkeypatch.setattr(low_rank, "_Added", None)  # to call it would raise
        change(model)
        found.append(model(x).detach())
    torch.testing.assert_close(found[0], found[1])


def test_rows_for_different_adapters_are_pefts() -> None:
    plain = adapted(torch.nn.Linear).eval()
    plain.add_adapter("other", LoraConfig(r=3, target_modules=["first", "second"], init_lora_weights=False))
    ours = copy.deepcopy(plain)
    speed_up_adapters(ours)
    x = torch.randn(2, 16, WIDE)
    given = {"adapter_names": ["other", "default"]}
    torch.testing.assert_close(ours(x, **given), plain(x, **given))


def test_an_adapter_is_saved_as_peft_saves_it(tmp_path: Path) -> None:
    plain = adapted(torch.nn.Linear)
    ours = copy.deepcopy(plain)
    speed_up_adapters(ours)
    for name, model in (("plain", plain), ("ours", ours)):
        model.save_pretrained(tmp_path / name)
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "ours"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Model(torch.nn.Linear), str(tmp_path / "ours"))
    x = torch.randn(3, WIDE)
    torch.testing.assert_close(loaded(x), plain.eval()(x))
    torch.testing.assert_close(ours.merge_and_unload()(x), plain(x), rtol=1e-4, atol=1e-5)
