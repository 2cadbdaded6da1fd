"""Method `score`: the log-likelihood of each label's text after the prompt, over its full token sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sftlib.artifacts.progress import say
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import target_text
from sftlib.errors import InputError
from sftlib.infer.answers import Answer, scored_answer
from sftlib.infer.batches import BATCH_TOKENS, token_batches
from sftlib.infer.engines import Tick
from sftlib.infer.forwards import FORWARDS, Forward, PlainForward, RowForward, UnsupportedError
from sftlib.infer.prefixes import Prefix, shared_prefix
from sftlib.infer.trees import grow_tree

# How far a faster way may be from the plain one, in log-likelihood of a whole label, before it counts as wrong.
_TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.25
_CPU_TOKENS = 512
_READ_AT_ONCE = 2**26  # logits: rows x places x vocabulary


class LabelScorer:
    """Scores prompts against the labels of the task."""

    def __init__(self, model: Any, renderer: Renderer, config: SFTConfig) -> None:
        self.model, self.config = model, config
        self.labels = config.task.labels
        self.label_ids = label_ids(renderer, config)
        self.tree = grow_tree(self.label_ids)
        self._vocabulary = len(renderer.tokenizer)
        self._forward: Forward | None = None

    @torch.inference_mode()
    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Settle on what prompts like these share, and on the fastest way that this model is seen to follow."""
        rows = sorted((prompt.ids for prompt in prompts), key=len)
        prefix = shared_prefix(rows, self.config)
        probes = [rows[0], rows[-1]] if rows else []
        plain = PlainForward(self.model, self.label_ids, self.tree, prefix)
        expected = plain.logprobs(probes)
        tolerance = self._tolerance(probes, expected)
        for way in FORWARDS:
            forward = plain if way is PlainForward else self._try(way, prefix, probes, expected, tolerance)
            if forward is not None:
                self._forward = forward
                return

    def _tolerance(self, probes: list[list[int]], expected: list[list[float]]) -> float:
        """Half precision is noisy, and how noisy depends on the model: what mere padding changes tells."""
        least = _TOLERANCE.get(self.model.dtype, _HALF_TOLERANCE)
        if self.model.dtype in _TOLERANCE or not probes:
            return least
        padded = RowForward(self.model, self.label_ids, self.tree, Prefix([])).logprobs(probes)
        return max(least, 4 * _distance(padded, expected))

    def _try(
        self, way: Any, prefix: Prefix, probes: list[list[int]], expected: list[list[float]], tolerance: float
    ) -> Forward | None:
        try:
            forward: Forward = way(self.model, self.label_ids, self.tree, prefix)
            off = _distance(forward.logprobs(probes), expected)
        except (UnsupportedError, RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            say(f"scores: '{way.name}' does not go with this model ({type(error).__name__}: {str(error)[:160]})")
            return None
        if not off <= tolerance:  # nan is not
            say(f"scores: '{way.name}' is {off:.2g} off the plain forward pass with this model: not used")
            return None
        return forward

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        """One answer a prompt, in the order of the prompts."""
        if self._forward is None:
            self.prepare(prompts)
        forward = self._forward
        assert forward is not None
        answers: dict[int, Answer] = {}
        # Prompts that do not begin as the others do run on their own, whole.
        for begins in (True, False):
            chosen = [i for i, prompt in enumerate(prompts) if forward.prefix.begins(prompt.ids) is begins]
            skipped = len(forward.prefix) if begins else 0
            lengths = [len(prompts[i].ids) - skipped + forward.extra_tokens for i in chosen]
            for batch in token_batches(lengths, self._budget(), self._most_rows(forward)):
                positions = [chosen[i] for i in batch]
                found = forward.logprobs([prompts[i].ids for i in positions])
                answers |= {
                    i: scored_answer(scores, self.config.task) for i, scores in zip(positions, found, strict=True)
                }
                tick(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def _budget(self) -> int:
        """A CPU is fastest while a batch stays in its caches: at 4,096 tokens it took twice the time of 512."""
        given = self.config.predict.batch_tokens
        return given or (_CPU_TOKENS if self.model.device.type == "cpu" else BATCH_TOKENS)

    def _most_rows(self, forward: Forward) -> int:
        return max(1, _READ_AT_ONCE // (forward.places * self._vocabulary))


def _distance(found: list[list[float]], expected: list[list[float]]) -> float:
    """The largest difference; nan where one of them is."""
    off = [abs(a - b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True)]
    return math.nan if any(map(math.isnan, off)) else max(off, default=0.0)


def label_ids(renderer: Renderer, config: SFTConfig) -> list[list[int]]:
    texts = [target_text(label, config) for label in config.task.labels]
    ids = [renderer.answer_ids(text) for text in texts]
    starts = any(a != b and b[: len(a)] == a for a in ids for b in ids)
    if len({tuple(item) for item in ids}) < len(ids):
        raise InputError(f"task.verbalizers: two labels have the same text: {texts}")
    # A label that begins another would always be the likelier one: then every label is scored with its end of turn.
    return [[*item, renderer.end_id] for item in ids] if starts else ids
