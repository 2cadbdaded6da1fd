"""The planner's memory against the peak that a real step allocates, for models of four families."""

from __future__ import annotations

import pytest
import torch

from benchmarks.allocation import step_peak_bytes
from sftlib.config.estimate.memory import Load, numbers_of, trainable_parameters, training_memory
from sftlib.config.estimate.shape import shape_of
from sftlib.config.tree import SFTConfig
from sftlib.models.low_rank import speed_up_adapters

TOKENS, POSITIONS = 384, 8
SIZES = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}


def family(name: str):
    import transformers

    if name == "llama":
        return transformers.LlamaConfig(**SIZES, intermediate_size=448)
    if name == "qwen3":
        return transformers.Qwen3Config(**SIZES, intermediate_size=448, head_dim=32)
    if name == "gemma3":
        return transformers.Gemma3TextConfig(**SIZES, intermediate_size=448, head_dim=32)
    return transformers.GptOssConfig(
        **SIZES, intermediate_size=128, head_dim=16, num_local_experts=8, num_experts_per_tok=4
    )


CASES = [  # family, dtype, autocast, checkpointing, targets, dropout
    ("llama", torch.bfloat16, True, False, "all-linear", 0.05), ("llama", torch.bfloat16, True, True, "all-linear", 0.0),
    ("llama", torch.bfloat16, False, False, ["q_proj", "v_proj"], 0.0), ("llama", torch.float32, False, False, "all-linear", 0.05),
    ("llama", torch.float32, False, True, "all-linear", 0.0), ("llama", torch.float32, True, False, "all-linear", 0.0),
    ("llama", torch.float32, False, False, ["q_proj", "v_proj"], 0.05), ("qwen3", torch.bfloat16, True, False, "all-linear", 0.0),
    ("gemma3", torch.bfloat16, True, False, "all-linear", 0.0), ("gpt_oss", torch.bfloat16, True, False, "all-linear", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype", "autocast", "checkpointing", "targets", "dropout"), CASES)
@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_the_estimate_is_within_15_percent_of_the_peak(
    name, dtype, autocast, checkpointing, targets, dropout, kernels
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model_config = family(name)
    model = AutoModelForCausalLM.from_config(model_config, dtype=dtype)
    lora = LoraConfig(r=16, target_modules=targets, lora_dropout=dropout, task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    if kernels == "auto":
        assert speed_up_adapters(model) >= 8
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    config = SFTConfig.model_validate(
        {
            "name": "x",
            "model": {"dtype": str(dtype).removeprefix("torch.")},
            "lora": {"r": 16, "target_modules": targets, "dropout": dropout},
            "train": {
                "gradient_checkpointing": checkpointing,
                "precision": "bf16" if autocast else "auto",
                "kernels": kernels,
            },
        }
    )
    shape = shape_of(model_config.to_dict())
    assert trainable_parameters(config, shape) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    estimate = training_memory(
        config, shape, Load(TOKENS, POSITIONS, TOKENS), numbers_of(config, on_gpu=False), on_gpu=False
    )
    peak = step_peak_bytes(model, tokens=TOKENS, positions=POSITIONS, has_autocast=autocast)
    assert estimate.total * 1e9 == pytest.approx(peak, rel=0.15)
