"""Kernels are chosen by what is there, and change nothing; backends and settings that cannot be are refused by name."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

import sftlib
from sftlib.config.tree import SFTConfig
from sftlib.data.collation import FlatCollator
from sftlib.data.rendering import TrainingRow
from sftlib.data.rows import Rows
from sftlib.errors import InputError
from sftlib.paths import ADAPTER_WEIGHTS
from sftlib.train.checkpointing import resolve_checkpointing
from sftlib.train.kernels import (
    apply_adapter_kernel,
    apply_layer_kernels,
    choose_loss_kernel,
    choose_optimizer,
    compile_layers,
)
from sftlib.train.loss import SupervisedTrainer
from sftlib.train.unsloth import adapter_arguments, bring_up, model_arguments
from tests.posts import write_experiment
from tests.shapes import build_shape
from tests.unit.train.test_exact import LIMIT, build, errors, measure, records

EVERYWHERE = {"target_modules": "all-linear"}


def config(**sections: Any) -> sftlib.SFTConfig:
    return sftlib.SFTConfig.model_validate(sections)


def test_what_runs_on_this_machine_is_taken_and_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert apply_layer_kernels(config(), build_shape("llama")) == "torch: no CUDA or ROCm device"
    assert choose_loss_kernel(config()) == "torch"
    assert choose_optimizer(config()) == "adamw_torch"
    assert choose_optimizer(config(train={"optimizer": "paged_adamw_8bit"})) == "paged_adamw_8bit"


def test_a_kernel_of_the_loss_is_given_what_it_wants(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with Cut Cross Entropy's contract, by its definition."""
    calls = []

    def linear_cross_entropy(
        e, c, targets, ignore_index=-100, softcap=None, reduction="mean", shift=False, filter_eps="high"
    ):
        calls.append(len(e))
        logits = (e @ c.T).float()
        logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        return cross_entropy(logits, targets, reduction=reduction)

    monkeypatch.setitem(
        sys.modules, "cut_cross_entropy", types.SimpleNamespace(linear_cross_entropy=linear_cross_entropy)
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for shape in ("qwen", "gemma2"):
        given = {"lora": EVERYWHERE, "flat": True, "data_collator": FlatCollator()}
        plain = build(SupervisedTrainer, shape, tmp_path, tokenizer, **given)
        cut = build(SupervisedTrainer, shape, tmp_path, tokenizer, loss_kernel="cce", **given)
        worst = errors(measure(cut, records("one beginning")), measure(plain, records("one beginning")))
        assert max(worst.values()) < LIMIT and calls


def test_compiled_layers_change_nothing(tmp_path: Path, tiny_model: Path) -> None:
    """Traced and run as they were traced: what a backend then makes of it is its own affair."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    plain = build(trl.SFTTrainer, "llama", tmp_path, tokenizer, lora=EVERYWHERE)
    ours = build(
        SupervisedTrainer, "llama", tmp_path, tokenizer, lora=EVERYWHERE, flat=True, data_collator=FlatCollator()
    )
    assert compile_layers(ours.model, backend="eager") == 4
    worst = errors(measure(ours, records("one beginning")), measure(plain, records("one beginning")))
    assert max(worst.values()) < LIMIT


def test_recomputed_activations_change_nothing(tiny_model: Path, tmp_path: Path) -> None:
    weights = {}
    for mode in ("false", "true", "selective"):
        experiment = write_experiment(tmp_path, tiny_model)
        given = sftlib.SFTConfig.from_file(experiment, [f"train.gradient_checkpointing={mode}", "train.max_steps=3"])
        result = sftlib.SFTTrainer(given, output_dir=tmp_path / mode).train()
        assert result["kernels"]["checkpointing"] == f"train.gradient_checkpointing is {mode}"
        weights[mode] = load_file(tmp_path / mode / "adapter" / ADAPTER_WEIGHTS)
    for mode in ("true", "selective"):
        for name, weight in weights[mode].items():
            torch.testing.assert_close(weight, weights["false"][name], rtol=1e-4, atol=1e-6)


def test_recomputing_is_chosen_where_memory_is_short() -> None:
    rows = Rows.of([TrainingRow([1] * 400, [-100] * 390 + [1] * 10)] * 4)
    model_config = build_shape("llama", hidden_size=128, intermediate_size=512, vocab_size=32_000).config
    asked = config(train={"gradient_checkpointing": "auto"}, model={"dtype": "float32"})
    plenty, why = resolve_checkpointing(asked, model_config, rows, memory_gb=100)
    assert plenty.train.gradient_checkpointing is False and "GB there" in why
    short, _ = resolve_checkpointing(asked, model_config, rows, memory_gb=0.05)
    assert short.train.gradient_checkpointing is True


def test_activations_cannot_be_offloaded_from_nowhere() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=r"train\.activation_offload = True: there is no GPU"):
        resolve_checkpointing(config(train={"activation_offload": True}), build_shape("llama").config, Rows.of([]))


def test_unsloth_is_refused_where_it_cannot_be(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.backend = 'unsloth': the package is not installed: pip install"):
        bring_up(config(train={"backend": "unsloth"}))
    experiment = write_experiment(tmp_path, tiny_model)
    command = [
        sys.executable,
        "-m",
        "sftlib",
        "train",
        str(experiment),
        "--runs-dir",
        str(tmp_path / "runs"),
        "--set",
        "train.backend=unsloth",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "set train.backend to trl" in done.stderr and "Traceback" not in done.stderr


def test_unsloth_is_told_the_same_configuration() -> None:
    given = config(
        train={"backend": "unsloth", "max_length": 2048, "seed": 3}, lora={"r": 8, "alpha": 16, "target_modules": "all-linear"},
        model={"quantization": {"kind": "nf4"}},
    )  # fmt: skip
    adapter = adapter_arguments(given)
    assert (adapter["r"], adapter["lora_alpha"], adapter["random_state"]) == (8, 16, 3)
    assert "down_proj" in adapter["target_modules"] and adapter["use_gradient_checkpointing"] is False
    model = model_arguments(given, "/models/base")
    assert model["load_in_4bit"] and not model["load_in_8bit"] and model["max_seq_length"] == 2048
    with pytest.raises(InputError, match="no DoRA"):
        adapter_arguments(config(lora={"dora": True}))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({}, "thin: 14 layers"),
        ({"lora": {"enabled": False}}, "none: all weights are trained"),
        ({"lora": {"target_modules": "all-linear", "dora": True}}, "peft: lora.dora"),
        ({"train": {"kernels": "torch"}}, "peft: train.kernels is torch"),
        ({"train": {"activation_offload": True}}, "peft: train.activation_offload moves copies and not what layers share"),
        ({"parallel": {"strategy": "zero3"}}, "peft: ZeRO-3 gathers an adapter's weights for its module"),
    ],
)  # fmt: skip
def test_who_adds_an_adapter_is_said(sections: dict, said: str, tiny_model: Path) -> None:
    config = SFTConfig.model_validate({"lora": {"target_modules": "all-linear"}, **sections})
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    if config.lora.enabled:
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", use_dora=config.lora.dora))
    assert apply_adapter_kernel(config, model) == said
    assert any(type(module).__name__.startswith("LowRank") for module in model.modules()) is said.startswith("thin")
