"""Who runs the model. An engine holds a loaded base and serves one adapter after another on it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sftlib.artifacts.hashing import sha256_value
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.infer.answers import Answer

Tick = Callable[[int], None]


class Answerer(Protocol):
    """A method at work: one answer a prompt, in their order."""

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Once before the first answer, with prompts from all over the test set."""

    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]: ...


class Engine(Protocol):
    """A loaded base. `scorer` and `generator` answer with the adapter that was asked for last."""

    def use(self, adapter: Path | None) -> None: ...

    def scorer(self, renderer: Renderer, config: SFTConfig) -> Answerer: ...

    def generator(self, renderer: Renderer, config: SFTConfig) -> Answerer: ...


# Engine -> (module, class); imported when it is chosen: vllm is an extra, and a dummy needs no torch.
ENGINES = {
    "transformers": ("sftlib.infer.transformers_engine", "TransformersEngine"),
    "vllm": ("sftlib.infer.vllm_engine", "VllmEngine"),
    "dummy": ("sftlib.infer.dummy_engine", "DummyEngine"),
}
# Method -> what an engine is asked for.
METHODS = {"score": "scorer", "generate": "generator"}


class EngineSlot:
    """At most one loaded base: cells that need the same one share it, another one takes its place."""

    def __init__(self) -> None:
        self._key = ""
        self._engine: Engine | None = None

    def engine(self, config: SFTConfig, dtype: str) -> Engine:
        # vLLM makes room for adapters of one size when it loads.
        lora = config.lora.model_dump(mode="json") if config.predict.engine == "vllm" else config.lora.enabled
        key = sha256_value([config.predict.engine, config.model.model_dump(mode="json"), lora, dtype])
        if self._engine is None or key != self._key:
            self._engine = None  # the old base leaves the memory before the new one comes
            self._engine, self._key = _load(config, dtype), key
        return self._engine


def _load(config: SFTConfig, dtype: str) -> Engine:
    module, name = ENGINES[config.predict.engine]
    engine: Engine = getattr(importlib.import_module(module), name)(config, dtype)
    return engine
