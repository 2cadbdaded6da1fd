"""Random tiny models of the shapes whose attention differs: grouped heads, windows, soft caps, sinks, experts."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "pad_token_id": 2, "bos_token_id": 1,
    "eos_token_id": 2, "attention_dropout": 0.0,
}  # fmt: skip
WINDOW = 12  # shorter than the records of the tests
LAYERS = ["sliding_attention", "full_attention"] * 2


def build_shape(name: str, *, seed: int = 0, **further: Any) -> Any:
    import torch
    import transformers as hf

    kinds = {
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, {"tie_word_embeddings": True}),
        "qwen": (hf.Qwen3ForCausalLM, hf.Qwen3Config, {}),
        "mistral": (hf.MistralForCausalLM, hf.MistralConfig, {"sliding_window": WINDOW}),
        "gemma": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig,
                  {"sliding_window": WINDOW, "layer_types": LAYERS, "query_pre_attn_scalar": 8, "tie_word_embeddings": True}),
        "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config,
                   {"sliding_window": WINDOW, "layer_types": LAYERS, "query_pre_attn_scalar": 8}),
        "gpt_oss": (hf.GptOssForCausalLM, hf.GptOssConfig,
                    {"sliding_window": WINDOW, "layer_types": LAYERS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    }  # fmt: skip
    kind, configuration, own = kinds[name]
    torch.manual_seed(seed)
    model = kind(configuration(**{**SIZES, **own, **further})).float()
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim > 1 or "sinks" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.25)  # attention that matters: the usual 0.02 hides a leak
    return model.eval()
