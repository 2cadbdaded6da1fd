"""The tokenizer and the base model of an experiment, and an adapter on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.artifacts.progress import say
from sftlib.config.layers import reveal
from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.attention import choose_attention
from sftlib.models.cpu_engines import keep_differentiable, prepare_4bit
from sftlib.models.hardware import device, dtype_name, dtype_of
from sftlib.models.memory import naming_out_of_memory
from sftlib.models.products import extend_products, speed_up_products
from sftlib.models.quantization import compute_dtype, is_4bit, quantization_config
from sftlib.paths import ADAPTER_CONFIG, hub_snapshots

_IDENTITY_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "*.bin", "*.gguf", "tokenizer*.json")


def model_source(config: SFTConfig) -> str:
    """A local folder, or the Hub id."""
    given = config.model.name_or_path
    if not given.startswith(BUNDLED):
        return reveal(given)
    folder = bundled_model(given.removeprefix(BUNDLED))
    if not (folder / "config.json").exists():
        raise InputError(
            f"model.name_or_path = {given!r} is not staged ({folder} is missing): sft stage EXPERIMENT makes it"
        )
    return str(folder)


def model_identity(config: SFTConfig) -> str:
    """What would have to be equal for the base to be the same: files' hashes, or Hub id and commit; and its format."""
    source, model = Path(model_source(config)), config.model
    kind = model.quantization.kind
    suffix = "" if kind == "none" else f"+{kind}" + ("-double" if is_4bit(config) and model.quantization.double else "")
    if not source.is_dir():
        return f"{model.name_or_path}@{_commit(model.name_or_path, model.revision)}{suffix}"
    patterns = (model.gguf_file, "config.json", "tokenizer*.json") if model.gguf_file else _IDENTITY_FILES
    files = sorted({path for pattern in patterns for path in source.glob(pattern)})
    return sha256_value([[path.name, sha256_file(path)] for path in files]) + suffix


def _commit(name: str, revision: str | None) -> str | None:
    """What a branch or tag of a Hub model meant when it was fetched."""
    reference = hub_snapshots(name).parent / "refs" / (revision or "main")
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision


def load_tokenizer(config: SFTConfig) -> Any:
    """The tokenizer; pad is set to an existing token that is not learnt from, because padding is masked by length."""
    from transformers import AutoTokenizer

    source = config.model.tokenizer or model_source(config)
    hub, further = _hub_arguments(config), _gguf(config)
    if config.model.tokenizer:  # from elsewhere: the model's revision means nothing there
        hub, further = {name: value for name, value in hub.items() if name != "revision"}, {}
    with _naming_source(config, source):
        tokenizer = AutoTokenizer.from_pretrained(source, **hub, **further)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(config: SFTConfig, dtype: torch.dtype | None = None, *, is_trained: bool = False) -> Any:
    """The base model on this rank's device, in the type and format that the experiment asks for."""
    return _load(config, model_source(config), dtype or dtype_of(config.model.dtype), is_trained=is_trained)


def load_trained(config: SFTConfig, folder: Path | None, dtype: torch.dtype | None = None) -> Any:
    """For prediction: the base alone, the base with the adapter in `folder`, or the whole model that `folder` holds."""
    if folder is not None and not (folder / ADAPTER_CONFIG).exists():
        return _load(config, str(folder), dtype or dtype_of(config.model.dtype), is_base=False)
    model = load_base(config, dtype)
    return model if folder is None else load_adapter(model, folder)


def load_adapter(model: Any, folder: Path) -> Any:
    """The base with a trained adapter on it, for prediction."""
    from peft import PeftModel

    from sftlib.models.low_rank import speed_up_adapters

    adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    extend_products(adapted)
    speed_up_adapters(adapted)
    return adapted


def _load(config: SFTConfig, source: str, dtype: torch.dtype, *, is_base: bool = True, is_trained: bool = False) -> Any:
    """`is_base`: from where the experiment says; else from a folder that training wrote, plain safetensors."""
    from transformers import AutoModelForCausalLM

    hub, gguf = (_hub_arguments(config), _gguf(config)) if is_base else ({}, {})
    with _naming_source(config, source):
        described = _described(config, source, hub, gguf)
        attention, reason = choose_attention(config.model.attention, _class_of(described, source), dtype)
        further = _dequantized() if gguf else _quantized(config, described, dtype, is_trained)
        if is_4bit(config):
            prepare_4bit()
        with naming_out_of_memory(config, "loading the model"):
            model: Any = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, attn_implementation=attention, **_placement(config), **hub, **gguf, **further
            )
    where = str(device())
    if device().type == "cpu":
        products = speed_up_products(model, config.model.cpu_products)
        where += f", float32 products by {products}"
    say(f"model {config.model.name_or_path}: {_format(config, dtype)}, attention {attention} ({reason}), on {where}")
    if is_4bit(config):
        keep_differentiable(model)
    return model


def _quantized(config: SFTConfig, described: Any, dtype: torch.dtype, is_trained: bool) -> dict[str, Any]:
    native = getattr(described, "quantization_config", None)
    if native is not None and not isinstance(native, dict):
        native = native.to_dict()
    found = quantization_config(config, native.get("quant_method") if native else None, dtype, is_trained=is_trained)
    return {"quantization_config": found} if found is not None else {}


def _dequantized() -> dict[str, Any]:
    """GGUF blocks could neither be trained nor saved."""
    from transformers import GgufConfig

    return {"quantization_config": GgufConfig(dequantize=True)}


def _format(config: SFTConfig, dtype: torch.dtype) -> str:
    kind = config.model.quantization.kind
    name = dtype_name(dtype)
    return name if kind == "none" else f"{kind} weights, {dtype_name(compute_dtype(config, dtype))} products"


def _described(config: SFTConfig, source: str, hub: dict[str, Any], gguf: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if config.model.trust_remote_code and hub:
        say(f"WARNING: model.trust_remote_code: Python code that comes with {source} runs with your rights")
    named = {"gguf_file": gguf["gguf_file"]} if gguf else {}
    return AutoConfig.from_pretrained(source, **hub, **named)


def _class_of(described: Any, source: str) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel

    try:
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(described)]
    except KeyError:
        if getattr(described, "auto_map", None):
            return PreTrainedModel  # code that comes with the model
        raise InputError(
            f"{source} is a {described.model_type} model, and no language model that can be tuned"
        ) from None


def _placement(config: SFTConfig) -> dict[str, Any]:
    """One device a rank; a CPU is where weights are loaded anyway."""
    where = device()
    return {"device_map": {"": where}} if where.type != "cpu" and config.model.device_map == "auto" else {}


def _gguf(config: SFTConfig) -> dict[str, Any]:
    if config.model.gguf_file is None:
        return {}
    if find_spec("gguf") is None:
        raise InputError(f"model.gguf_file = {config.model.gguf_file!r} needs the package gguf: pip install gguf")
    return {"gguf_file": config.model.gguf_file}


@contextlib.contextmanager
def _naming_source(config: SFTConfig, source: str) -> Iterator[None]:
    """A model that is not there, not whole, or closed: said with the key and the remedy."""
    try:
        yield
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0][:300]
        revision = f" at revision {config.model.revision}" if config.model.revision else ""
        raise InputError(
            f"model.name_or_path = {config.model.name_or_path!r}{revision}: cannot be loaded from {source} ({first}): "
            f"{_remedy(source, str(error))}"
        ) from error


def _remedy(source: str, said: str) -> str:
    if "custom code" in said or "trust_remote_code" in said:
        return "set model.trust_remote_code=true if you trust its authors with your rights"
    if Path(source).is_dir():
        return "a folder needs config.json, the weights (safetensors) and the tokenizer's files"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "stage it where there is internet (sft stage EXPERIMENT)"
    return "check the name, and HF_TOKEN where the model asks for an account"


def _hub_arguments(config: SFTConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {"trust_remote_code": config.model.trust_remote_code}
    if config.model.revision:
        arguments["revision"] = config.model.revision
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        arguments["local_files_only"] = True
    return arguments
