"""The experiment's quantisation as transformers' configuration: 4-bit and 8-bit weights, native MXFP4."""

from __future__ import annotations

from typing import Any

import torch

from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.hardware import DTYPES, dtype_of

SHARDED = ("fsdp", "zero3")  # strategies that cut the weights themselves in pieces


def quantization_config(config: SFTConfig, native: str | None, dtype: torch.dtype, *, is_trained: bool = False) -> Any:
    """What from_pretrained gets, or None; `native` is the format in which the weights already are."""
    kind = config.model.quantization.kind
    if native == "mxfp4":
        return _mxfp4(config, is_trained)
    if kind == "none":
        return None
    if native:
        raise InputError(
            f"model.quantization.kind = {kind!r}: the weights of {config.model.name_or_path} are {native} already: use none"
        )
    if kind == "mxfp4":
        raise InputError(
            f"model.quantization.kind = 'mxfp4': {config.model.name_or_path} is not in that format, and it is not made "
            "here: use nf4"
        )
    _require_bitsandbytes(kind)
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = compute_dtype(config, dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=config.model.quantization.double,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=storage_dtype(config, compute),
    )


def compute_dtype(config: SFTConfig, dtype: torch.dtype) -> torch.dtype:
    """The type of the matrix products; auto: that of the weights that stay unquantised."""
    name = config.model.quantization.compute_dtype
    return dtype if name == "auto" else dtype_of(name)


def storage_dtype(config: SFTConfig, compute: torch.dtype) -> torch.dtype:
    """How packed 4-bit values are stored. Engines that shard weights want one type in all of a layer."""
    name = config.model.quantization.storage_dtype
    if name == "auto":
        return compute if config.parallel.strategy in SHARDED else torch.uint8
    if config.parallel.strategy in SHARDED and DTYPES[name] != compute:
        raise InputError(
            f"model.quantization.storage_dtype = {name!r}: {config.parallel.strategy} shards weights, and mixed types in a "
            "layer do not shard: use auto"
        )
    return DTYPES[name]


def _mxfp4(config: SFTConfig, is_trained: bool) -> Any:
    """gpt-oss comes in MXFP4. Its kernels have no backward: training dequantises, prediction may keep it."""
    from transformers.utils.quantization_config import Mxfp4Config

    kind = config.model.quantization.kind
    if kind not in ("none", "mxfp4"):
        raise InputError(f"model.quantization.kind = {kind!r}: the weights are MXFP4 already: use none or mxfp4")
    return Mxfp4Config(dequantize=is_trained or kind == "none")


def is_4bit(config: SFTConfig) -> bool:
    return config.model.quantization.kind in ("nf4", "fp4")


def _require_bitsandbytes(kind: str) -> None:
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise InputError(f"model.quantization.kind = {kind!r} needs bitsandbytes: pip install 'sftlib[qlora]'")
