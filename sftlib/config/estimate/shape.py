"""A model's config.json in, its matrices out: names, sizes and how many parameters there are of which kind."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig

_ATTENTION, _MLP = "self_attn", "mlp"
# What a family does differently from Llama, as far as it costs memory.
_FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {"is_fused": True},  # q, k, v in one matrix, gate and up in another
    "gemma2": {"norms": 4},
    "gemma3_text": {"norms": 4, "norms_heads": True},
    "qwen3": {"norms_heads": True},
    "qwen3_moe": {"norms_heads": True},
    "gpt_oss": {"has_sinks": True, "expert_widths": 6},
}
_ROPE_LIKE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Linear:
    """One matrix of a layer, as the modules of the model are called."""

    name: str
    inputs: int
    outputs: int

    @property
    def size(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """A decoder of the Llama family: gated MLP, grouped attention, RMS norms; with experts or without."""

    layers: int
    hidden: int
    inner: int  # width of the MLP, or of one expert
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    is_tied: bool
    experts: int = 0
    experts_per_token: int = 0
    is_fused: bool = False
    norms: int = 2  # of a layer's input, output and the turns between
    norms_heads: bool = False  # queries and keys are normed too
    has_sinks: bool = False  # attention that writes out its scores where no kernel knows sinks
    expert_widths: int = 4  # values as wide as an expert that its activation function keeps

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key_value(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> list[Linear]:
        """The matrices of one layer that are modules; stacked experts are parameters, not modules."""
        h, q, kv, f = self.hidden, self.query, self.key_value, self.inner
        if self.is_fused:
            attention = [("qkv_proj", h, q + 2 * kv), ("o_proj", q, h)]
            mlp = [("gate_up_proj", h, 2 * f), ("down_proj", f, h)]
        else:
            attention = [("q_proj", h, q), ("k_proj", h, kv), ("v_proj", h, kv), ("o_proj", q, h)]
            mlp = [("gate_proj", h, f), ("up_proj", h, f), ("down_proj", f, h)]
        parts = [(f"{_ATTENTION}.{name}", a, b) for name, a, b in attention]
        if not self.experts:
            parts += [(f"{_MLP}.{name}", a, b) for name, a, b in mlp]
        return [Linear(*part) for part in parts]

    @property
    def expert_size(self) -> int:
        """Weights of one layer's experts, all of them."""
        return self.experts * 3 * self.hidden * self.inner

    @property
    def layer_size(self) -> int:
        """Weights of one layer's matrices."""
        return sum(linear.size for linear in self.linears) + self.expert_size + self.hidden * self.experts

    @property
    def other_size(self) -> int:
        """Embeddings, head and norms: what quantisation leaves alone."""
        head = 0 if self.is_tied else self.vocab * self.hidden
        return self.vocab * self.hidden + head + (self.norms * self.layers + 1) * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_size + self.other_size

    @property
    def active_layer_size(self) -> int:
        """Weights of one layer that a token meets."""
        chosen = self.experts_per_token * 3 * self.hidden * self.inner
        return sum(linear.size for linear in self.linears) + chosen + self.hidden * self.experts

    def targets(self, wanted: str | list[str]) -> list[Linear]:
        """The matrices of one layer that get an adapter."""
        return [linear for linear in self.linears if _is_target(linear.name, wanted)]

    def adapter_size(self, wanted: str | list[str], rank: int) -> int:
        """Parameters of a LoRA adapter."""
        return self.layers * rank * sum(linear.inputs + linear.outputs for linear in self.targets(wanted))


def _is_target(name: str, wanted: str | list[str]) -> bool:
    """As PEFT matches: a list by the end of the name, a string as a regular expression over the whole."""
    if wanted == "all-linear":
        return True
    whole = f"model.layers.0.{name}"
    if isinstance(wanted, str):
        return re.fullmatch(wanted, whole) is not None
    return any(whole == target or whole.endswith(f".{target}") for target in wanted)


def shape_of(values: dict[str, Any]) -> ModelShape | None:
    """The shape that a config.json describes; None for an architecture that is none of ours."""
    values = values.get("text_config", values)
    if any(not isinstance(values.get(name), int) for name in _ROPE_LIKE):
        return None
    experts = next((values[n] for n in ("num_local_experts", "num_experts") if values.get(n)), 0)
    inner = values.get("moe_intermediate_size") if experts else None
    heads, hidden = values["num_attention_heads"], values["hidden_size"]
    return ModelShape(
        layers=values["num_hidden_layers"], hidden=hidden,
        inner=inner or values.get("intermediate_size") or 4 * hidden,
        heads=heads, kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or hidden // heads, vocab=values["vocab_size"],
        is_tied=bool(values.get("tie_word_embeddings", values.get("model_type", "").startswith("gemma"))),
        experts=experts, experts_per_token=values.get("num_experts_per_tok") or values.get("experts_per_token") or 0,
        **_FAMILIES.get(str(values.get("model_type", "")), {}),
    )  # fmt: skip


def find_shape(config: SFTConfig) -> ModelShape | None:
    """The shape of an experiment's base, from its folder or the hub's cache; None where its config.json is not here."""
    for folder in _folders(config):
        file = folder / "config.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(values, dict):
            return shape_of(values)
    return None


def _folders(config: SFTConfig) -> Iterator[Path]:
    given = config.model.name_or_path
    if given.startswith(BUNDLED):
        yield bundled_model(given.removeprefix(BUNDLED))
    elif Path(given).is_dir():
        yield Path(given)
    else:
        home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
        snapshots = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"models--{given.replace('/', '--')}"
        revision = config.model.revision or "main"
        reference = snapshots / "refs" / revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
        yield snapshots / "snapshots" / commit
