"""Every kind of adapter is trained, saved and loaded for prediction; what is named and not there is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sftlib
from sftlib.errors import InputError
from sftlib.infer.transformers_engine import TransformersEngine
from sftlib.models.loading import load_base, load_trained
from sftlib.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from sftlib.train.optimizers import speed_up_b
from tests.posts import write_experiment
from tests.tiny import build_shape

IDS = torch.arange(3, 35).reshape(2, 16)
PLAIN = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}


def trained(
    folder: Path, model: Path, lora: dict[str, Any], kind: str = "none"
) -> tuple[sftlib.SFTConfig, dict[str, Any]]:
    settings = ["train.max_steps=2", f"model.quantization.kind={kind}"]
    config = sftlib.SFTConfig.from_file(write_experiment(folder, model, lora=lora), settings)
    return config, sftlib.SFTTrainer(config, output_dir=folder / "out").train()


@pytest.mark.parametrize(
    ("kind", "lora", "saved"),
    [
        ("none", {"dora": True}, "lora_magnitude_vector"),
        ("nf4", {"dora": True}, "lora_magnitude_vector"),
        ("none", {"rslora": True, "lora_plus_ratio": 16.0}, "q_proj.lora_B"),
        ("fp4", {"target_modules": r".*layers\.1\..*\.(up|down)_proj"}, "layers.1.mlp.up_proj.lora_A"),
        ("int8", {"target_modules": "all-linear"}, "gate_proj.lora_A"),
        ("none", {"modules_to_save": ["norm"]}, "model.norm.weight"),
    ],
)
def test_adapters_are_trained_saved_and_loaded(
    tiny_model: Path, tmp_path: Path, lora: dict[str, Any], saved: str, kind: str
) -> None:
    config, result = trained(tmp_path, tiny_model, {**PLAIN, **lora}, kind=kind)
    weights = load_file(Path(result["adapter"]) / ADAPTER_WEIGHTS)
    assert any(saved in name for name in weights), sorted(weights)
    assert 0 < result["trainable_weights"] < result["weights"]
    tuned, base = load_trained(config, Path(result["adapter"])), load_base(config)
    assert not torch.equal(tuned(input_ids=IDS).logits, base(input_ids=IDS).logits)


def test_all_weights_are_trained_and_the_folder_holds_the_model(tiny_model: Path, tmp_path: Path) -> None:
    config, result = trained(tmp_path, tiny_model, {"enabled": False})
    folder = Path(result["adapter"])
    assert result["trainable_weights"] == result["weights"] and not (folder / ADAPTER_CONFIG).exists()
    tuned, base = load_trained(config, folder), load_base(config)
    changed = [not torch.equal(a, b) for a, b in zip(tuned.parameters(), base.parameters(), strict=True)]
    assert all(changed)
    engine = TransformersEngine(config, "float32")
    for wanted, used in ((tuned, folder), (base, None)):
        engine.use(used)
        assert torch.equal(engine.model(input_ids=IDS).logits, wanted(input_ids=IDS).logits)


def test_b_matrices_learn_faster_by_the_ratio() -> None:
    layer = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(2, 2), "lora_B": torch.nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(
        [{"params": [layer["lora_A"].weight, layer["lora_B"].weight], "weight_decay": 0.1},
         {"params": [layer["lora_A"].bias], "weight_decay": 0.0}], lr=1e-3,
    )  # fmt: skip
    speed_up_b(optimizer, layer, 16.0)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(layer["lora_A"].weight)] == (1e-3, 0.1)
    assert rates[id(layer["lora_B"].weight)] == (pytest.approx(1.6e-2), 0.1)
    assert rates[id(layer["lora_A"].bias)] == (1e-3, 0.0)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["q_proj", "x_proj"]}, r"no module x_proj; its linear modules are .*q_proj"),
        ({"target_modules": r".*\.x_proj"}, "no module matches the expression"),
        ({"modules_to_save": ["score"]}, r"lora\.modules_to_save: the model has no module score"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, r"lora\.target_parameters: the model has no weight"),
    ],
)
def test_what_the_model_does_not_have_is_named(
    tiny_model: Path, tmp_path: Path, lora: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        trained(tmp_path, tiny_model, {**PLAIN, **lora})
    assert caught.value.exit_code == 2 and caught.value.stage_code == 64


@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_the_experts_of_a_mixture_learn(tmp_path: Path, kind: str) -> None:
    lora = {
        "target_modules": ["q_proj", "v_proj"],
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    }
    config, result = trained(tmp_path, build_shape(tmp_path / "oss", "gpt-oss"), {**PLAIN, **lora}, kind=kind)
    weights = load_file(Path(result["adapter"]) / ADAPTER_WEIGHTS)
    experts = {name: weight for name, weight in weights.items() if "experts" in name and "lora_B" in name}
    assert len(experts) == 4 and all(weight.abs().sum() > 0 for weight in experts.values()), sorted(weights)
    tuned, base = load_trained(config, Path(result["adapter"])), load_base(config)
    assert not torch.equal(tuned(input_ids=IDS).logits, base(input_ids=IDS).logits)
