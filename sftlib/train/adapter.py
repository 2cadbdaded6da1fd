"""The adapter on the base before training, and the adapter folder after it: published whole, with its record."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import torch

from sftlib.artifacts.adapters import AdapterRecord, weights_digest
from sftlib.artifacts.atomic import replacing_dir
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.paths import ADAPTER_CARD, CellPaths

ALL_LINEAR = "all-linear"


def lora_config(config: SFTConfig) -> Any:
    """PEFT's configuration, or None for full fine-tuning."""
    from peft import LoraConfig

    lora = config.lora
    if not lora.enabled:
        return None
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type] # PEFT divides: a fraction is as good
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        modules_to_save=lora.modules_to_save or None,
        bias=lora.bias,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        target_parameters=lora.target_parameters or None,
    )


def check_targets(model: Any, config: SFTConfig) -> None:
    """Every module and weight that is named exists in the model; PEFT alone is content when one of them matches."""
    lora = config.lora
    if not lora.enabled:
        return
    names = [name for name, _ in model.named_modules()]
    targets = lora.target_modules
    if isinstance(targets, str):
        if targets != ALL_LINEAR and not any(re.fullmatch(targets, name) for name in names):
            raise InputError(f"lora.target_modules: no module matches the expression {targets!r}; {_linear(model)}")
    elif missing := _unmatched(targets, names):
        raise InputError(f"lora.target_modules: the model has no module {', '.join(missing)}; {_linear(model)}")
    if missing := _unmatched(lora.modules_to_save, names):
        raise InputError(f"lora.modules_to_save: the model has no module {', '.join(missing)}; {_linear(model)}")
    weights = [name for name, _ in model.named_parameters()]
    if missing := _unmatched(lora.target_parameters, weights):
        raise InputError(
            f"lora.target_parameters: the model has no weight {', '.join(missing)}; names end like {weights[-1]}"
        )


def _unmatched(wanted: Iterable[str], names: list[str]) -> list[str]:
    return [target for target in wanted if not any(name == target or name.endswith(f".{target}") for name in names)]


def _linear(model: Any) -> str:
    found = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    return f"its linear modules are {', '.join(sorted(found))} (or write {ALL_LINEAR})"


def count_parameters(model: Any) -> tuple[int, int]:
    """Trainable and all weights; packed 4-bit values and shards counted as the weights that they hold."""
    trainable = total = 0
    for parameter in model.parameters():
        count = _true_size(parameter)
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def _true_size(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    if state is not None and getattr(state, "shape", None) is not None:
        return math.prod(state.shape)
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def gathered_weights(trainer: Any) -> dict[str, Any] | None:
    """All trained weights on rank 0, whatever the engine has cut in pieces; called by every rank. None: as they are."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


def publish_adapter(
    model: Any, tokenizer: Any, cell: CellPaths, facts: dict[str, Any], card: str, weights: dict[str, Any] | None = None
) -> AdapterRecord:
    """Write the adapter folder in one step; of a full fine-tuning it holds the whole model."""
    with replacing_dir(cell.adapter) as folder:
        model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        (folder / ADAPTER_CARD).write_text(card, encoding="utf-8")
        record = AdapterRecord(cell=cell.name, weights_sha256=weights_digest(folder), **facts)
        record.write(folder)
    return record


def model_card(config: SFTConfig, cell: str, loss: float | None) -> str:
    """A short README for the adapter."""
    library = "peft" if config.lora.enabled else "transformers"
    base = config.model.name_or_path
    front = ["---", f"base_model: {base}", f"library_name: {library}", "tags: [sft, lora, sftlib]", "---"]
    kind = f"LoRA r={config.lora.r}, alpha={config.lora.alpha:g}" if config.lora.enabled else "full fine-tuning"
    lines = [*front, f"# {config.name}: {cell}", "", f"{kind} on `{base}`, {config.train.epochs:g} epochs, "
             f"learning rate {config.train.learning_rate:g}, seed {config.train.seed}.", ""]  # fmt: skip
    if loss is not None:
        lines.append(f"Training loss at the end: {loss:.4f}.")
    return "\n".join(lines) + "\n"
