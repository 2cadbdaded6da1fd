"""What an adapter does to which weight of its base, read from its folder; what cannot be folded is refused here."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftlib.errors import InputError
from sftlib.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS

IN_MEMORY = "fold it in memory instead: --in-memory"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"^(?P<module>.+)\.lora_(?P<part>A|B)\.weight$")
_MAGNITUDE = re.compile(r"^(?P<module>.+)\.lora_magnitude_vector(?:\.weight)?$")


@dataclass
class Change:
    """What the adapter does to one weight of the base."""

    down: str = ""  # names in the adapter's file
    up: str = ""
    magnitude: str = ""
    whole: str = ""  # the tensor that takes its place
    scale: float = 1.0


@dataclass(frozen=True)
class Adapter:
    """An adapter folder, opened: which weight it changes, and how."""

    folder: Path
    settings: dict[str, Any]
    changes: dict[str, Change] = field(default_factory=dict)  # by name of the base's tensor

    @property
    def weights(self) -> Path:
        return self.folder / ADAPTER_WEIGHTS


def open_adapter(folder: Path, known: set[str]) -> Adapter:
    """Read the adapter's settings and names; raises for anything that `known` weights cannot take up."""
    from safetensors import safe_open

    try:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} is no adapter: it has no readable {ADAPTER_CONFIG}") from None
    if settings.get("peft_type") != "LORA":
        raise InputError(
            f"{folder} is a {settings.get('peft_type')} adapter: only LoRA can be folded here; {IN_MEMORY}"
        )
    adapter = Adapter(folder, settings)
    with safe_open(str(adapter.weights), framework="pt") as opened:
        for key in opened.keys():  # noqa: SIM118 - no dict
            _note(adapter, key, known)
    incomplete = sorted(
        name for name, change in adapter.changes.items() if not change.whole and not (change.down and change.up)
    )
    if incomplete:
        raise InputError(f"{folder}: {incomplete[0]} has only one of its two LoRA factors: the adapter is not whole")
    return adapter


def _note(adapter: Adapter, key: str, known: set[str]) -> None:
    name = key.removeprefix(_PREFIX)
    if match := _FACTOR.match(name):
        change = adapter.changes.setdefault(_in_base(f"{match['module']}.weight", known, adapter.folder), Change())
        change.scale = scaling(adapter.settings, match["module"])
        if match["part"] == "A":
            change.down = key
        else:
            change.up = key
    elif match := _MAGNITUDE.match(name):
        adapter.changes.setdefault(
            _in_base(f"{match['module']}.weight", known, adapter.folder), Change()
        ).magnitude = key
    elif "lora_" in name:
        raise InputError(f"{adapter.folder}: {key} cannot be folded tensor by tensor; {IN_MEMORY}")
    else:  # modules_to_save, biases
        adapter.changes.setdefault(_in_base(name, known, adapter.folder), Change()).whole = key


def _in_base(name: str, known: set[str], folder: Path) -> str:
    """The base's name of a weight; some checkpoints leave out the model's own first word."""
    for candidate in (name, name.partition(".")[2]):
        if candidate in known:
            return candidate
    raise InputError(
        f"{folder}: the base has no weight {name}: the adapter is of another base, or its weights are tied or fused; {IN_MEMORY}"
    )


def scaling(settings: dict[str, Any], module: str) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA, with the patterns that single modules may have."""
    rank = _by_pattern(settings.get("rank_pattern") or {}, module, settings["r"])
    alpha = _by_pattern(settings.get("alpha_pattern") or {}, module, settings["lora_alpha"])
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _by_pattern(patterns: dict[str, float], module: str, default: float) -> float:
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)
