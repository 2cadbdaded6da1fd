"""An adapter that was trained elsewhere becomes a cell's own: copied whole, with record and summary as a training leaves them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from sftlib.artifacts.adapters import AdapterRecord, read_adapter_record, weights_digest
from sftlib.artifacts.atomic import replacing_dir, write_json
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import ProgressFile, say
from sftlib.artifacts.receipt import stage_receipt
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer, tokenizer_digest
from sftlib.errors import InputError
from sftlib.models.loading import load_tokenizer, model_identity
from sftlib.paths import ADAPTER_CONFIG, CellPaths

SUMMARY_VERSION = 1


def take_over(config: SFTConfig, cell: CellPaths, progress: ProgressFile) -> None:
    """Copy `lora.adapter` into the cell; the summary is written last."""
    source = Path(config.lora.adapter or "")
    say(f"{source}: taken over as {cell.name}, nothing is trained")
    _check_kind(source, config)
    with replacing_dir(cell.adapter) as folder:
        for file in sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith(".")):
            shutil.copyfile(file, folder / file.name)
        record = _record(source, folder, config, cell.name)
        record.write(folder)
    summary = {
        "schema_version": SUMMARY_VERSION, "complete": True, "cell": cell.name, "taken_over": str(source),
        "config_sha256": sha256_value(config.to_dict()), "adapter_sha256": record.weights_sha256, "train_loss": None,
        "receipt": stage_receipt(),
    }  # fmt: skip
    write_json(cell.summary, summary)
    progress.update(done=1, state="done", force=True)


def _check_kind(source: Path, config: SFTConfig) -> None:
    """What PEFT calls another kind of adapter is not laid on by prediction; another base is told."""
    about = json.loads((source / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    kind, base = about.get("peft_type"), about.get("base_model_name_or_path")
    if kind != "LORA":
        raise InputError(f"lora.adapter = {str(source)!r}: an adapter of type {kind}: expected LORA")
    if base and base != config.model.name_or_path and read_adapter_record(source) is None:
        say(f"{source}: names {base} as its base; it is laid on model.name_or_path = {config.model.name_or_path}")


def _record(source: Path, folder: Path, config: SFTConfig, cell: str) -> AdapterRecord:
    """Ours says what it was trained with, and prediction holds it to that; of another's nothing is known."""
    weights, known = weights_digest(folder), read_adapter_record(source)
    if known is not None:
        if known.weights_sha256 != weights:
            raise InputError(f"lora.adapter = {str(source)!r}: its weights are not those that were written there")
        return replace(known, cell=cell)
    tokenizer = load_tokenizer(config)
    say(f"{source}: the prompt that it was trained with is not known; it is asked with this experiment's")
    return AdapterRecord(
        cell=cell, base=model_identity(config), prompt_sha256=Renderer(config, tokenizer).fingerprint(),
        tokenizer_sha256=tokenizer_digest(tokenizer), weights_sha256=weights,
        dtype=config.model.dtype,  # by name: what `auto` is depends on the device, and this one predicts nothing
    )  # fmt: skip
