"""Engine `transformers`: the base as the experiment loads it, one adapter at a time laid on it and taken off again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer
from sftlib.infer.forwards import MASKABLE
from sftlib.infer.generating import Generator
from sftlib.infer.scoring import LabelScorer
from sftlib.models.hardware import dtype_of
from sftlib.models.loading import load_adapter, load_trained
from sftlib.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS


class TransformersEngine:
    """Adapters are taken off by unwrapping, not by merging back; one that changes the base itself costs loading it again."""

    def __init__(self, config: SFTConfig, dtype: str) -> None:
        torch.set_num_threads(config.train.threads)
        self._config, self._dtype = config, dtype_of(dtype)
        self.model: Any = None
        self._adapter: Path | None = None

    def use(self, adapter: Path | None) -> None:
        if self.model is not None and adapter == self._adapter:
            return
        is_whole = adapter is not None and not (adapter / ADAPTER_CONFIG).exists()  # left by a full fine-tuning
        if self.model is None or is_whole or (self._adapter is not None and _changes_base(self._adapter)):
            self.model = None  # it leaves the memory before the other one comes
            self.model = self._load(adapter if is_whole else None)
        elif self._adapter is not None:
            self.model = self.model.unload()
        if adapter is not None and not is_whole:
            self.model = load_adapter(self.model, adapter)
        self._adapter = adapter
        self.model.eval()

    def scorer(self, renderer: Renderer, config: SFTConfig) -> LabelScorer:
        return LabelScorer(self.model, renderer, config)

    def generator(self, renderer: Renderer, config: SFTConfig) -> Generator:
        return Generator(self.model, renderer, config)

    def _load(self, folder: Path | None) -> Any:
        model = load_trained(self._config, folder, self._dtype).eval()
        if model.config._attn_implementation not in MASKABLE:
            _prefer_masks(model)
        return model


def _prefer_masks(model: Any) -> None:
    """Shared prefixes need an attention that takes masks; where a model has none, whole prompts are run."""
    for name in MASKABLE:
        try:
            model.set_attn_implementation(name)
        except (ValueError, ImportError, AttributeError):
            continue
        if model.config._attn_implementation == name:
            return


def _changes_base(adapter: Path) -> bool:
    """Whether it holds more than low-rank factors, which PEFT takes off again: trained biases, embeddings or whole
    modules; after those the base is loaded anew."""
    from safetensors import safe_open

    path = adapter / ADAPTER_WEIGHTS
    if not path.exists():
        return True
    with safe_open(path, framework="pt") as weights:
        return any(".lora_" not in name for name in weights.keys())  # noqa: SIM118 (it is no mapping)
