"""gpt-oss as it is published: experts in MXFP4, 4-bit values with a shared exponent for each 32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.loading import load_base, model_identity
from tests.tiny import build_tokenizer

VALUES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
EXPERTS, WIDTH = 2, 64


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder with packed experts, and what they mean, worked out here by the format's own definition."""
    from transformers import GptOssConfig, GptOssForCausalLM

    folder = tmp_path_factory.mktemp("oss")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = GptOssConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=EXPERTS, num_experts_per_tok=1,
        max_position_embeddings=512, pad_token_id=2, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    GptOssForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights, meant = load_file(folder / "model.safetensors"), {}
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        rows = weights.pop(name).shape[2]
        blocks = torch.randint(0, 256, (EXPERTS, rows, WIDTH // 32, 16), dtype=torch.uint8)
        scales = torch.randint(120, 125, (EXPERTS, rows, WIDTH // 32), dtype=torch.uint8)
        weights |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        meant[name] = unpack(blocks, scales)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((folder / "config.json").read_text())
    described["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described))
    return folder, meant


def unpack(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Low half of a byte first; experts x rows x columns, as the model keeps them turned round."""
    table = torch.tensor([*VALUES, *(-value for value in VALUES)])
    values = torch.stack([table[(blocks & 15).long()], table[(blocks >> 4).long()]], dim=-1).flatten(3)
    return (values * 2.0 ** (scales.float() - 127)[..., None]).flatten(2).transpose(1, 2)


def config(folder: Path, kind: str) -> SFTConfig:
    return SFTConfig.model_validate(
        {"model": {"name_or_path": str(folder), "dtype": "bfloat16", "quantization": {"kind": kind}}}
    )


@pytest.mark.parametrize("kind", ["none", "mxfp4"])
def test_packed_experts_are_read_as_what_they_mean(packed: tuple[Path, dict[str, torch.Tensor]], kind: str) -> None:
    """Without the kernels, as on this CPU, `mxfp4` is dequantised by the library as well."""
    folder, meant = packed
    model = load_base(config(folder, kind))
    loaded = dict(model.named_parameters())
    for name, expected in meant.items():
        torch.testing.assert_close(loaded[name].float(), expected, rtol=0, atol=0)
    ids = torch.arange(3, 19)[None]
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embedded, labels=ids).loss.backward()
    assert embedded.grad is not None and embedded.grad.isfinite().all() and embedded.grad.abs().sum() > 0


def test_another_format_on_top_is_refused(packed: tuple[Path, dict[str, torch.Tensor]]) -> None:
    with pytest.raises(InputError, match="the weights are MXFP4 already: use none or mxfp4"):
        load_base(config(packed[0], "nf4"))
    assert model_identity(config(packed[0], "none")) != model_identity(config(packed[0], "mxfp4"))
