"""The adapter on the base before training, and the adapter folder after it: published whole, with its record."""

from __future__ import annotations

from typing import Any

from sftlib.artifacts.adapters import AdapterRecord, weights_digest
from sftlib.artifacts.atomic import replacing_dir
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.paths import ADAPTER_CARD, CellPaths


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
    )


def check_targets(model: Any, config: SFTConfig) -> None:
    """Every named target module exists in the model; PEFT alone is content when one of them matches."""
    targets = config.lora.target_modules
    if not config.lora.enabled or isinstance(targets, str):
        return
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    names = {name for name, _ in model.named_modules()}
    missing = [
        target for target in targets if target not in leaves and not any(n.endswith(f".{target}") for n in names)
    ]
    if missing:
        linear = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if type(m).__name__.startswith("Linear")}
        )
        raise InputError(
            f"lora.target_modules: the model has no module {', '.join(missing)}; its linear modules are "
            f"{', '.join(linear)} (or write all-linear)"
        )


def publish_adapter(model: Any, tokenizer: Any, cell: CellPaths, facts: dict[str, Any], card: str) -> AdapterRecord:
    """Write the adapter folder in one step."""
    with replacing_dir(cell.adapter) as folder:
        model.save_pretrained(folder, safe_serialization=True)
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
