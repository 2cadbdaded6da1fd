"""The tokenizer and the base model of an experiment, and an adapter on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.config.layers import reveal
from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.hardware import device, dtype_of

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
    """What would have to be equal for the base to be the same: the files' hashes, or Hub id and revision."""
    source = Path(model_source(config))
    if not source.is_dir():
        return f"{config.model.name_or_path}@{config.model.revision}"
    files = sorted({path for pattern in _IDENTITY_FILES for path in source.glob(pattern)})
    return sha256_value([[path.name, sha256_file(path)] for path in files])


def load_tokenizer(config: SFTConfig) -> Any:
    """The tokenizer; pad is set to an existing token that is not learnt from, because padding is masked by length."""
    from transformers import AutoTokenizer

    source = config.model.tokenizer or model_source(config)
    tokenizer = AutoTokenizer.from_pretrained(source, **_hub_arguments(config))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(config: SFTConfig, dtype: torch.dtype | None = None) -> Any:
    """The base model on this rank's device, in the type that the experiment asks for."""
    from transformers import AutoModelForCausalLM

    dtype = dtype or dtype_of(config.model.dtype)
    attention = "sdpa" if config.model.attention == "auto" else config.model.attention
    model: Any = AutoModelForCausalLM.from_pretrained(
        model_source(config), dtype=dtype, attn_implementation=attention, **_hub_arguments(config)
    )
    return model.to(device())


def load_adapter(model: Any, folder: Path) -> Any:
    """The base with a trained adapter on it, for prediction."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), is_trainable=False)


def _hub_arguments(config: SFTConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {"trust_remote_code": config.model.trust_remote_code}
    if config.model.revision:
        arguments["revision"] = config.model.revision
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        arguments["local_files_only"] = True
    return arguments
