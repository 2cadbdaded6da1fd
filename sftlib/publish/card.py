"""The model card: what it was trained from, what it reached on which test set, and from what it can be repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from sftlib.config.rundir import Run, read_json
from sftlib.config.tree import SFTConfig
from sftlib.errors import CorruptError

_HEADLINE = {"f1": "F1", "macro_f1": "macro F1", "accuracy": "accuracy", "fpr": "FPR", "fnr": "FNR",
             "exact_match": "exact match", "rouge_l": "ROUGE-L"}  # fmt: skip
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
BUNDLED_BASES = {"bundled:smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}


def base_on_hub(name: str) -> str | None:
    """The base's hub id; a path of this machine is nobody else's business."""
    if name in BUNDLED_BASES:
        return BUNDLED_BASES[name]
    return name if _HUB_ID.fullmatch(name) and not Path(name).exists() else None


def model_card(run: Run, cell: str, *, merged: bool, licence: str | None) -> str:
    """README.md of the repository."""
    config = run.cell_config(cell)
    metrics = _metrics(run)
    base = base_on_hub(config.model.name_or_path)
    front: dict[str, Any] = {"license": licence or "other"}
    if base:
        front |= {"base_model": base, "base_model_relation": "finetune" if merged else "adapter"}
    front |= {
        "library_name": "transformers" if merged or not config.lora.enabled else "peft",
        "pipeline_tag": "text-generation", "tags": ["sft", *(["lora"] if config.lora.enabled else []), "sftlib"],
    }  # fmt: skip
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n# {run.config.name}: {cell}",
        run.config.description,
        _how(config, base, merged),
        ""
        if licence
        else "**Licence:** not stated by whoever published this. The base model's licence applies to what is made of it.",
        _reached(metrics, cell),
        _receipt(run, cell),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how(config: SFTConfig, base: str | None, merged: bool) -> str:
    lora, train = config.lora, config.train
    kind = f"LoRA r={lora.r}, alpha={lora.alpha:g}" if lora.enabled else "Full fine-tuning"
    folded = ", folded into the base" if merged and lora.enabled else ""
    quantised = (
        "" if config.model.quantization.kind == "none" else f" ({config.model.quantization.kind} during training)"
    )
    return (
        f"{kind}{folded}. Base: {base or 'a local model'}{quantised}. {train.epochs:g} epochs, learning rate "
        f"{train.learning_rate:g}, seed {train.seed}."
    )


def _metrics(run: Run) -> dict[str, Any] | None:
    try:
        return read_json(run.paths.report.metrics_json)
    except CorruptError:
        return None


def _reached(metrics: dict[str, Any] | None, cell: str) -> str:
    """Rates of the cell with their intervals, overall and by group."""
    found = (metrics or {}).get("cells", {}).get(cell)
    if not metrics or not found:
        return "## Evaluation\n\nNot evaluated."
    overall = found["overall"]
    keys = [key for key in _HEADLINE if overall.get(key) is not None]
    rows = [_row("all", overall, keys)]
    for column, groups in (found.get("groups") or {}).items():
        rows += [_row(f"{column} = {name}", group, keys) for name, group in groups.items()]
    head = ["", "n", *(_HEADLINE[key] for key in keys)]
    table = [head, ["---"] * len(head), *rows]
    stamp = "" if metrics.get("complete") else "\n\n**The report is incomplete: shards of the test set are missing.**"
    confidence = metrics["run"].get("confidence")
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return (
        f"## Evaluation\n\n{lines}\n\nIn brackets: {100 * confidence:g}% intervals.{stamp}"
        if confidence
        else f"## Evaluation\n\n{lines}{stamp}"
    )


def _row(name: str, figures: dict[str, Any], keys: list[str]) -> list[str]:
    return [name, str(figures.get("n", "")), *(_figure(figures, key) for key in keys)]


def _figure(figures: dict[str, Any], key: str) -> str:
    value, low, high = (figures.get(name) for name in (key, f"{key}_low", f"{key}_high"))
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{low:.3f}-{high:.3f}]" if low is not None and high is not None else "")


def _receipt(run: Run, cell: str) -> str:
    """Content hashes and versions; no path, host or user of the machine that it was made on."""
    receipt = run.record.get("receipt") or {}
    code = receipt.get("code") or {}
    told = {
        "run": run.paths.root.name, "cell": cell, "created": run.record["created"], "sftlib": run.record["sftlib"],
        "code_sha256": code.get("sha256"), "git_commit": code.get("git_commit"),
        "experiment_sha256": receipt.get("experiment_sha256"), "config_sha256": run.record["cell_configs"][cell],
        "parts": run.known_parts(cell),
        "data": {name: {"sha256": found["sha256"], "records": found["count"]} for name, found in run.inputs.items()},
    }  # fmt: skip
    return f"## Receipt\n\n```json\n{json.dumps(told, indent=2)}\n```"
