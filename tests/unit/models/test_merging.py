"""Folding an adapter tensor by tensor against PEFT's own merge, for every kind of LoRA; and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from sftlib.errors import InputError
from sftlib.models.merging import fold, fold_in_memory

LINEAR = ["q_proj", "v_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
    "all-linear": {"target_modules": "all-linear"},
    "modules saved whole": {"modules_to_save": ["norm"]},
}


def trained_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter whose every number is as if it had been trained."""
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    config = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 12, "target_modules": LINEAR, **settings}
    adapted = get_peft_model(model, LoraConfig(**config))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                scale = 0.1 * parameter.abs().mean() if "magnitude" in name or "norm" in name else 0.05
                parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    adapted.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text('{"from": "the adapter"}')
    return folder


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(40).reshape(2, 20) % 500
    with torch.no_grad():
        return model(input_ids=ids).logits


def folded(base: Path, adapter: Path, target: Path, **options: Any) -> tuple[Any, list[str]]:
    target.mkdir()
    changed = fold(base, adapter, target, **options)
    return AutoModelForCausalLM.from_pretrained(str(target), dtype=torch.float32), changed


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_peft_merges(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    adapter = trained_adapter(tiny_model, tmp_path / "adapter", **KINDS[kind])
    base = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32)
    plain = logits(base)
    with_adapter = logits(PeftModel.from_pretrained(base, str(adapter)))
    merged, changed = folded(tiny_model, adapter, tmp_path / "merged")
    assert (with_adapter - plain).abs().max() > 1e-3  # the adapter does something
    assert torch.allclose(logits(merged), with_adapter, atol=2e-5)
    assert changed and not list((tmp_path / "merged").glob("adapter*"))
    assert json.loads((tmp_path / "merged" / "tokenizer_config.json").read_text()) == {"from": "the adapter"}


def test_weights_that_lie_the_other_way_round(tmp_path: Path) -> None:
    """GPT-2 keeps its matrices transposed, and its checkpoints leave out the first word of every name."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=600, n_embd=32, n_layer=2, n_head=2, n_positions=64))
    model.save_pretrained(tmp_path / "base")
    tensors = {}
    with safe_open(str(tmp_path / "base" / "model.safetensors"), framework="pt") as opened:
        tensors = {name.removeprefix("transformer."): opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, str(tmp_path / "base" / "model.safetensors"), metadata={"format": "pt"})
    adapter = trained_adapter(tmp_path / "base", tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True)
    base = AutoModelForCausalLM.from_pretrained(str(tmp_path / "base"), dtype=torch.float32)
    expected = logits(PeftModel.from_pretrained(base, str(adapter)))
    merged, _ = folded(tmp_path / "base", adapter, tmp_path / "merged")
    assert torch.allclose(logits(merged), expected, atol=2e-5)


def test_a_base_in_half_precision_stays_so(tiny_model: Path, tmp_path: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    adapter = trained_adapter(tmp_path / "half", tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    fold(tmp_path / "half", adapter, tmp_path / "merged")
    with safe_open(str(tmp_path / "merged" / "model.safetensors"), framework="pt") as opened:
        assert {opened.get_tensor(name).dtype for name in opened.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_many_files_in_and_out(tiny_model: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32)
    base.save_pretrained(tmp_path / "base", max_shard_size="40KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) >= 3
    adapter = trained_adapter(tmp_path / "base", tmp_path / "adapter")
    merged, _ = folded(tmp_path / "base", adapter, tmp_path / "merged", file_bytes=50_000)
    files = list((tmp_path / "merged").glob("*.safetensors"))
    assert len(files) >= 3 and (tmp_path / "merged" / "model.safetensors.index.json").exists()
    assert sum(path.stat().st_size > 60_000 for path in files) <= 1  # the embedding is one tensor
    expected = logits(PeftModel.from_pretrained(base, str(adapter)))
    assert torch.allclose(logits(merged), expected, atol=2e-5)


def test_in_memory_is_the_same(tiny_model: Path, tmp_path: Path) -> None:
    adapter = trained_adapter(tiny_model, tmp_path / "adapter")
    merged, _ = folded(tiny_model, adapter, tmp_path / "merged")
    (tmp_path / "other").mkdir()
    fold_in_memory(tiny_model, adapter, tmp_path / "other")
    other = AutoModelForCausalLM.from_pretrained(str(tmp_path / "other"), dtype=torch.float32)
    assert torch.allclose(logits(merged), logits(other), atol=1e-5)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_cannot_be_folded_is_refused_before_anything_is_written(tiny_model: Path, tmp_path: Path) -> None:
    adapter = trained_adapter(tiny_model, tmp_path / "adapter")
    target = tmp_path / "merged"
    target.mkdir()
    other = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32)
    other.save_pretrained(tmp_path / "quantised")
    edit(tmp_path / "quantised" / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(InputError, match=r"quantised weights \(bitsandbytes\).*--base"):
        fold(tmp_path / "quantised", adapter, target)
    with pytest.raises(InputError, match=r"config\.json"):
        fold(tmp_path, adapter, target)
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        fold(tiny_model, tiny_model, target)
    embedding = trained_adapter(tiny_model, tmp_path / "embedding", target_modules=["embed_tokens"])
    with pytest.raises(InputError, match="--in-memory"):
        fold(tiny_model, embedding, target)
    tied = trained_adapter(tiny_model, tmp_path / "tied", target_modules=["lm_head"])
    with pytest.raises(InputError, match=r"no weight lm_head.*--in-memory"):
        fold(tiny_model, tied, target)
    edit(adapter / "adapter_config.json", peft_type="IA3")
    with pytest.raises(InputError, match="IA3"):
        fold(tiny_model, adapter, target)
    assert not list(target.iterdir())


def test_memory_is_that_of_one_file_not_of_the_model(tmp_path: Path) -> None:
    """A base of 200 MB in files of 10 MB, folded into files of 10 MB."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    weight_map, factors = {}, {}
    for place in range(20):
        name, file = f"model.layers.{place}.q_proj.weight", f"model-{place:02d}.safetensors"
        save_file({name: torch.full((1000, 2500), float(place))}, str(base / file), metadata={"format": "pt"})
        weight_map[name] = file
        factors[f"base_model.model.model.layers.{place}.q_proj.lora_A.weight"] = torch.ones(2, 2500)
        factors[f"base_model.model.model.layers.{place}.q_proj.lora_B.weight"] = torch.ones(1000, 2)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (base / "config.json").write_text("{}")
    save_file(factors, str(adapter / "adapter_model.safetensors"), metadata={"format": "pt"})
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    (tmp_path / "merged").mkdir()
    program = (
        "import resource, sys\nfrom pathlib import Path\nimport torch, safetensors.torch\nfrom sftlib.models.merging import fold\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"fold(Path({str(base)!r}), Path({str(adapter)!r}), Path({str(tmp_path / 'merged')!r}), file_bytes=10_000_000)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80, f"{done.stdout} MiB on top of the libraries, for a model of 200 MB"
    with safe_open(str(tmp_path / "merged" / "model-00008-of-00020.safetensors"), framework="pt") as opened:
        assert (opened.get_tensor("model.layers.7.q_proj.weight") == 9.0).all()  # 7 + 1 x (1 + 1)
