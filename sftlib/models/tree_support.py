"""Whether a model can read rows laid out as trees, why not, and the proof on the model itself before it is relied on."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from sftlib.data.layout import lay_out
from sftlib.models.tree_attention import NAME, register

_KNOWN_LAYERS = {"full_attention", "sliding_attention", "attention"}
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the largest hidden value; 16-bit types: _COARSE
_COARSE = 0.1


def why_not_flat(model: Any) -> str | None:
    """The reason why this model's rows must be padded; None: they can be flat."""
    config = model.config.get_text_config()
    strange = set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS
    if strange:
        return f"layers of type {', '.join(sorted(strange))} carry more from token to token than attention does"
    if getattr(config, "attention_dropout", 0.0):
        return f"attention_dropout = {config.attention_dropout:g} draws one mask for a whole row"
    if getattr(config, "use_bidirectional_attention", False):
        return "its attention also looks ahead"
    if "position_ids" not in inspect.signature(type(model).forward).parameters:
        return f"{type(model).__name__} takes no position_ids"
    if not type(model)._can_set_attn_implementation():
        return f"{type(model).__name__} has its attention written into it"
    return None


def use_tree_attention(model: Any) -> str | None:
    """Switch the model to attention over segments and try it; a reason means that it was switched back."""
    reason = why_not_flat(model)
    if reason:
        return reason
    before = model.config._attn_implementation
    tried = None if is_elsewhere(model) else probes(model)
    plain = None if tried is None else _one_by_one(model, tried)
    model.set_attn_implementation(register())
    if model.config._attn_implementation != NAME:
        return f"{type(model).__name__} has its attention written into it"
    if tried is not None and plain is not None and (error := _error(model, tried, plain)):
        model.set_attn_implementation(before)
        return error
    return None


def is_elsewhere(model: Any) -> bool:
    """Weights that are not here in full (meta device, ZeRO-3) cannot be tried."""
    return any(p.is_meta or hasattr(p, "ds_id") for p in model.parameters())


def probes(model: Any) -> list[dict[str, list[int]]]:
    """Three records with a common beginning, two of them with a longer one."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size

    def some(count: int) -> list[int]:
        return torch.randint(0, vocabulary, (count,), generator=generator).tolist()

    begin, more = some(9), some(7)
    return [{"input_ids": begin + tail, "labels": begin + tail} for tail in (more + some(5), more + some(6), some(8))]


def _one_by_one(model: Any, probes: list[dict[str, list[int]]]) -> list[torch.Tensor]:
    return [last_hidden_states(model, input_ids=torch.tensor([probe["input_ids"]]))[0] for probe in probes]


def _error(model: Any, probes: list[dict[str, list[int]]], plain: list[torch.Tensor]) -> str | None:
    layout = lay_out(probes, min_shared=4)
    hidden = last_hidden_states(
        model,
        input_ids=torch.from_numpy(layout.ids)[None],
        position_ids=torch.from_numpy(layout.positions)[None],
        attention_mask=torch.from_numpy(layout.segments)[None, None],
    )[0]
    scale = max(float(states.abs().max()) for states in plain)
    worst = max(
        float((hidden[torch.from_numpy(place).to(hidden.device)] - states).abs().max())
        for place, states in zip(layout.places, plain, strict=True)
    )
    if worst <= _TOLERANCE.get(next(model.parameters()).dtype, _COARSE) * scale:
        return None
    return f"records in one row are not read as they are alone: hidden states differ by {worst:.2g} of {scale:.2g}"


@torch.no_grad()
def last_hidden_states(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    """What the model's last layer says, in fp32, without dropout."""
    was_training = model.training
    model.eval()
    device = model.get_input_embeddings().weight.device
    try:
        backbone = model.base_model
        return backbone(**{k: v.to(device) for k, v in inputs.items()}, use_cache=False).last_hidden_state.float()
    finally:
        model.train(was_training)
