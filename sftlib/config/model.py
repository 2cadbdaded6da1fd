"""Sections `model` and `lora`: the base, how it is loaded, and the adapter on it."""

from __future__ import annotations

from typing import Literal

from sftlib.config.base import Section, knob, knobs

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Products = Literal["auto", "blas", "onednn"]


class Quantization(Section):
    """4-bit or 8-bit weights of the frozen base (QLoRA)."""

    kind: Literal["none", "nf4", "fp4", "int8", "mxfp4"] = knob("none", "weight format of the base; nf4 is QLoRA's")
    double: bool = knob(True, "quantise the quantisation constants too: about 0.4 bit less a weight")
    compute_dtype: Dtype = knob("auto", "type of the matrix products")
    storage_dtype: Dtype = knob("auto", "type in which 4-bit weights are stored; auto: compute type, as sharding needs")


class ModelSection(Section):
    """The base model."""

    name_or_path: str = knob("bundled:smollm2-135m-instruct", "Hub id, folder, or bundled:NAME (made by `sft stage`)")
    revision: str | None = knob(None, "commit or tag on the Hub; pins what was trained")
    gguf_file: str | None = knob(None, "GGUF file inside name_or_path, where transformers can read it")
    tokenizer: str | None = knob(None, "tokenizer from elsewhere than the model")
    dtype: Dtype = knob("auto", "type of the base weights; auto: bfloat16 where the hardware has it, else float32")
    attention: Literal["auto", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "eager"] = knob(
        "auto", "attention implementation; auto takes the best that is there and says which"
    )
    device_map: Literal["auto", "none"] = knob("auto", "auto: one device a rank; none: leave it to the engine")
    cpu_products: Products = knob(
        "auto",
        "float32 products on a CPU; auto: oneDNN where PyTorch's BLAS (MKL) leaves half of an AMD processor unused",
    )
    quantization: Quantization = knobs("4-bit or 8-bit base weights", Quantization)
    trust_remote_code: bool = knob(False, "run Python code that comes with the model; a security risk, said loudly")


class LoraSection(Section):
    """The adapter."""

    enabled: bool = knob(True, "false: full fine-tuning of all weights")
    adapter: str | None = knob(
        None, "folder of an adapter that is there already, of sftlib or plain PEFT: it is taken over instead of trained"
    )
    r: int = knob(32, "rank: capacity of the adapter; its size grows linearly", ge=1)
    alpha: float = knob(32, "scale: updates are multiplied by alpha / r (alpha / sqrt(r) with rslora)", gt=0)
    dropout: float = knob(0.05, "share of adapter inputs dropped in training", ge=0, lt=1)
    target_modules: str | list[str] = knob(["q_proj", "v_proj"], "module names, a regular expression, or all-linear")
    target_parameters: list[str] = knobs(
        "weights that are no modules, such as the experts of gpt-oss: mlp.experts.gate_up_proj, mlp.experts.down_proj",
        list,
    )
    modules_to_save: list[str] = knobs("modules trained in full and saved with the adapter", list)
    bias: Literal["none", "all", "lora_only"] = knob("none", "which biases are trained")
    dora: bool = knob(False, "weight-decomposed LoRA: better at low rank, slower")
    rslora: bool = knob(False, "rank-stabilised scale: for high ranks")
    lora_plus_ratio: float | None = knob(None, "LoRA+: learning rate of B over that of A", gt=0)
