"""Engine `dummy`: made-up answers, the same for the same prompt and adapter, with no model and no torch. For tests of
everything around the model, and for a dry run on a cluster.

$SFTLIB_DUMMY_LATENCY_MS lets each record take that long, without computing.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from sftlib.artifacts.adapters import read_adapter_record
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import target_text
from sftlib.infer.answers import Answer, scored_answer
from sftlib.infer.engines import Tick

LATENCY_VARIABLE = "SFTLIB_DUMMY_LATENCY_MS"


class DummyEngine:
    def __init__(self, config: SFTConfig, dtype: str) -> None:
        self._salt = ""

    def use(self, adapter: Path | None) -> None:
        record = read_adapter_record(adapter) if adapter else None
        self._salt = record.weights_sha256 if record else ""

    def scorer(self, renderer: Renderer, config: SFTConfig) -> _Dummy:
        return _Dummy(self._salt, config, is_scored=True)

    def generator(self, renderer: Renderer, config: SFTConfig) -> _Dummy:
        return _Dummy(self._salt, config, is_scored=False)


class _Dummy:
    def __init__(self, salt: str, config: SFTConfig, *, is_scored: bool) -> None:
        self._salt, self._config, self._is_scored = salt, config, is_scored
        self._seconds = float(os.environ.get(LATENCY_VARIABLE, "0")) / 1000

    def prepare(self, prompts: Sequence[Prompt]) -> None: ...

    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        answers = []
        for prompt in prompts:
            time.sleep(self._seconds)
            answers.append(self._answer(prompt))
            tick(1)
        return answers

    def _answer(self, prompt: Prompt) -> Answer:
        digest = hashlib.sha256((self._salt + prompt.text).encode()).digest()
        task = self._config.task
        if task.type == "generation":
            raw = f"answer {digest.hex()[:12]}"
            return Answer(raw, None, raw, new_tokens=2)
        if self._is_scored:
            return scored_answer([-1 - digest[i % 32] / 64 for i in range(len(task.labels))], task)
        raw = target_text(task.labels[digest[0] % len(task.labels)], self._config)
        label, reason = parse_label(raw, task)
        return Answer(label, reason, raw, new_tokens=len(raw.split()))
