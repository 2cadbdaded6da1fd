"""Bases in every format: the weights stay frozen, the gradients are right, and what cannot be loaded is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.attention import choose_attention
from sftlib.models.loading import load_base, load_tokenizer, model_identity
from sftlib.models.memory import OutOfMemoryError, naming_out_of_memory
from sftlib.models.quantization import storage_dtype

IDS = torch.arange(3, 35).reshape(2, 16)


def config(source: Path | str, kind: str = "none", **sections: Any) -> SFTConfig:
    section = {
        "name_or_path": str(source),
        "dtype": "float32",
        "quantization": {"kind": kind},
        **sections.pop("model", {}),
    }
    return SFTConfig.model_validate({"model": section, **sections})


@pytest.mark.parametrize(("kind", "error"), [("nf4", 0.2), ("fp4", 0.25), ("int8", 0.05)])
def test_a_quantised_base_answers_nearly_as_the_base(tiny_model: Path, kind: str, error: float) -> None:
    plain, packed = load_base(config(tiny_model)), load_base(config(tiny_model, kind))
    expected, found = (model(input_ids=IDS).logits.flatten().float() for model in (plain, packed))
    assert torch.linalg.vector_norm(found - expected) < error * torch.linalg.vector_norm(expected)
    assert not torch.equal(found, expected)
    assert any(type(module).__name__ in ("Linear4bit", "Linear8bitLt") for module in packed.modules())


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_gradients_through_4bit_weights_are_those_of_the_same_weights_unpacked(tiny_model: Path, kind: str) -> None:
    """A forward in eval mode comes first: on some CPUs it repacks the weights, and gradients are silently wrong after it."""
    packed = load_base(config(tiny_model, kind))
    unpacked = load_base(config(tiny_model, kind))
    _unpack(unpacked)
    gradients = []
    for model in (packed, unpacked):
        model.eval()
        with torch.no_grad():
            model(input_ids=IDS)
        model.train()
        embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
        model(inputs_embeds=embedded, labels=IDS).loss.backward()
        gradients.append(embedded.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9999
    assert gradients[0].norm() == pytest.approx(gradients[1].norm().item(), rel=1e-3)


def _unpack(model: Any) -> None:
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            linear = torch.nn.Linear(module.in_features, module.out_features, bias=False)
            linear.weight.data = weight.to(torch.float32).reshape(linear.weight.shape)
            model.set_submodule(name, linear)


def test_sharding_engines_store_4bit_weights_in_the_compute_type() -> None:
    for strategy, expected in (
        ("ddp", torch.uint8),
        ("zero2", torch.uint8),
        ("fsdp", torch.bfloat16),
        ("zero3", torch.bfloat16),
    ):
        settings = config("x", "nf4", parallel={"strategy": strategy})
        assert storage_dtype(settings, torch.bfloat16) == expected
    mixed = config(
        "x", "nf4", parallel={"strategy": "fsdp"}, model={"quantization": {"kind": "nf4", "storage_dtype": "float32"}}
    )
    with pytest.raises(InputError, match="use auto"):
        storage_dtype(mixed, torch.bfloat16)


def test_the_identity_of_a_hub_model_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the name of the branch: what that means today may be another model tomorrow."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("c0ffee")
    hub = config("org/model")
    assert model_identity(hub) == "org/model@c0ffee"
    (refs / "main").write_text("decaf")
    assert model_identity(hub) == "org/model@decaf"
    pinned = config("org/model", model={"revision": "abc123"})
    assert model_identity(pinned) == "org/model@abc123"


def test_the_identity_of_a_base_names_its_format(tiny_model: Path) -> None:
    assert len({model_identity(config(tiny_model, kind)) for kind in ("none", "nf4", "fp4", "int8")}) == 4


def test_weights_out_of_a_gguf_file(tmp_path: Path) -> None:
    """A Llama written block by block in GGUF's own Q8_0 is loaded dequantised, trainable and savable."""
    gguf = write_gguf(tmp_path / "tiny.gguf")
    settings = config(tmp_path, model={"gguf_file": gguf.name})
    model = load_base(settings)
    assert model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    model.save_pretrained(tmp_path / "saved")


def write_gguf(path: Path) -> Path:
    import gguf
    import numpy as np

    width, inner, vocabulary, heads = 64, 128, 64, 4
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(vocabulary)
    shapes = {
        "token_embd": (vocabulary, width), "output": (vocabulary, width), "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width, width), "blk.0.attn_v": (width, width), "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (inner, width), "blk.0.ffn_up": (inner, width), "blk.0.ffn_down": (width, inner),
    }  # fmt: skip
    for name, shape in shapes.items():
        values = generator.normal(0, 0.1, shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_cannot_be_loaded_is_named_with_its_remedy(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"model\.name_or_path = 'nobody/nothing' at revision abc.*sft stage"):
        load_tokenizer(config("nobody/nothing", model={"revision": "abc"}))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_base(config(tmp_path))
    with pytest.raises(InputError, match="is not in that format"):
        load_base(config(tiny_model, "mxfp4"))


def test_attention_is_what_is_there(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import GptOssForCausalLM, LlamaForCausalLM

    assert choose_attention("auto", LlamaForCausalLM, torch.float32)[0] == "sdpa"
    assert choose_attention("auto", GptOssForCausalLM, torch.float32)[0] == "eager"  # its sinks
    with pytest.raises(InputError, match="GptOssForCausalLM does not have it"):
        choose_attention("sdpa", GptOssForCausalLM, torch.float32)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="needs a GPU"):
            choose_attention("flash_attention_2", LlamaForCausalLM, torch.float32)
    load_base(config(tiny_model))
    assert "attention sdpa" in capsys.readouterr().err


def test_code_that_comes_with_a_model_is_refused_and_loud_when_asked_for(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "own")
    described = json.loads((folder / "config.json").read_text())
    described |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(InputError, match="trust_remote_code"):
        load_base(config(folder))
    model = load_base(config(folder, model={"trust_remote_code": True}))
    assert type(model).__name__ == "Own" and "WARNING: model.trust_remote_code" in capsys.readouterr().err


def test_out_of_memory_is_named_with_what_would_help() -> None:
    settings = config("x", train={"batch_size": 8, "gradient_accumulation": 2})
    advice = r"while training.*train\.batch_size=4 with train\.gradient_accumulation=4"
    with pytest.raises(OutOfMemoryError, match=advice), naming_out_of_memory(settings, "training"):
        torch.empty(2**52)
    with pytest.raises(RuntimeError, match="something else"), naming_out_of_memory(settings, "training"):
        raise RuntimeError("something else")
