"""Engine `transformers`: the base as the experiment loads it, one adapter at a time laid on it and taken off again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer
from sftlib.infer.generating import Generator
from sftlib.infer.scoring import LabelScorer
from sftlib.models.hardware import dtype_of
from sftlib.models.loading import load_adapter, load_trained
from sftlib.paths import ADAPTER_CONFIG

_TAKES_MASKS = ("sdpa", "eager")


class TransformersEngine:
    """Adapters are taken off by unwrapping, not by merging back: the base's weights are never touched."""

    def __init__(self, config: SFTConfig, dtype: str) -> None:
        torch.set_num_threads(config.train.threads)
        self._config, self._dtype = config, dtype_of(dtype)
        self.model: Any = self._load()
        self._adapter: Path | None = None

    def use(self, adapter: Path | None) -> None:
        if adapter == self._adapter:
            return
        if self._adapter is not None:
            self.model = self._load() if _changes_base(self._adapter) else self.model.unload()
        self._adapter = adapter
        if adapter is not None:
            is_adapter = (adapter / ADAPTER_CONFIG).exists()  # a full fine-tuning leaves a whole model there
            self.model = load_adapter(self.model, adapter) if is_adapter else self._load(adapter)
        self.model.eval()

    def scorer(self, renderer: Renderer, config: SFTConfig) -> LabelScorer:
        return LabelScorer(self.model, renderer, config)

    def generator(self, renderer: Renderer, config: SFTConfig) -> Generator:
        return Generator(self.model, renderer, config)

    def _load(self, folder: Path | None = None) -> Any:
        model = load_trained(self._config, folder, self._dtype).eval()
        if model.config._attn_implementation not in _TAKES_MASKS:
            _prefer_masks(model)
        return model


def _prefer_masks(model: Any) -> None:
    """Shared prefixes need an attention that takes masks; where a model has none, whole prompts are run."""
    for name in _TAKES_MASKS:
        try:
            model.set_attn_implementation(name)
        except (ValueError, ImportError, AttributeError):
            continue
        if model.config._attn_implementation == name:
            return


def _changes_base(adapter: Path) -> bool:
    """Whether laying it on changes more than PEFT takes off again: trained biases, full weights."""
    path = adapter / ADAPTER_CONFIG
    if not path.exists():
        return True
    return json.loads(path.read_text(encoding="utf-8")).get("bias", "none") != "none"
