"""Method `score`: the log-likelihood of each label's text after the prompt, over its full token sequence.

Labels that share their first tokens share the forward pass: a row is run for each distinct run of tokens before a
label's last one ("branch"), and every label reads its tokens' probabilities off the branches that cover it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import target_text
from sftlib.errors import InputError
from sftlib.infer.answers import Answer
from sftlib.infer.batches import left_padded, token_batches

Tick = Callable[[int], None]


class LabelScorer:
    """Scores prompts against the labels of the task."""

    def __init__(self, model: Any, renderer: Renderer, config: SFTConfig) -> None:
        self.model, self.config = model, config
        self.pad = renderer.tokenizer.pad_token_id
        self.labels = config.task.labels
        self.label_ids = _label_ids(renderer, config)
        self.branches = maximal_branches([ids[:-1] for ids in self.label_ids])

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        """One answer a prompt, in the order of the prompts."""
        answers: list[Answer | None] = [None] * len(prompts)
        longest = max(map(len, self.branches), default=0)
        lengths = [(len(prompt.ids) + longest) * len(self.branches) for prompt in prompts]
        for batch in token_batches(lengths, self.config.predict.batch_tokens):
            for position, scores in zip(batch, self._batch([prompts[i].ids for i in batch]), strict=True):
                answers[position] = self._answer(scores)
            tick(len(batch))
        return [answer for answer in answers if answer is not None]

    def _batch(self, prompts: list[list[int]]) -> list[list[float]]:
        """The log-likelihood of each label, for each prompt."""
        tables = [self._branch_logprobs(prompts, branch) for branch in self.branches]
        return [[sum(self._token_logprobs(tables, row, ids)) for ids in self.label_ids] for row in range(len(prompts))]

    def _branch_logprobs(self, prompts: list[list[int]], branch: tuple[int, ...]) -> torch.Tensor:
        """Log-probabilities of the next token at the prompt's end and after each token of the branch."""
        ids, mask = left_padded([[*prompt, *branch] for prompt in prompts], self.pad)
        device = self.model.device
        attention = torch.tensor(mask, device=device)
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        # Positions, not a count: a count makes transformers slice a view, and on a CPU torch then multiplies that view
        # batch by batch with as many copies of the output head (5 GB at 90 prompts and a vocabulary of 49,152).
        keep = torch.arange(len(ids[0]) - len(branch) - 1, len(ids[0]), device=device)
        logits = self.model(
            input_ids=torch.tensor(ids, device=device), attention_mask=attention, position_ids=positions,
            logits_to_keep=keep, use_cache=False,
        ).logits  # fmt: skip
        return torch.log_softmax(logits.float(), dim=-1).cpu()

    def _token_logprobs(self, tables: list[torch.Tensor], row: int, ids: list[int]) -> list[float]:
        covering = next(i for i, branch in enumerate(self.branches) if list(branch[: len(ids) - 1]) == ids[:-1])
        return [tables[covering][row, at, token].item() for at, token in enumerate(ids)]

    def _answer(self, logprobs: list[float]) -> Answer:
        best = max(range(len(self.labels)), key=logprobs.__getitem__)
        return Answer(
            self.labels[best],
            None,
            None,
            logprobs,
            positive_probability(logprobs, self.labels, self.config.task.positive),
        )


def positive_probability(logprobs: Sequence[float], labels: Sequence[str], positive: str | None) -> float | None:
    """The share of the positive label in the labels' probability."""
    if positive is None:
        return None
    top = max(logprobs)
    weights = [math.exp(value - top) for value in logprobs]
    return weights[labels.index(positive)] / sum(weights)


def maximal_branches(starts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The runs of tokens that are not the beginning of another one; one empty branch when all labels are single tokens."""
    distinct = sorted({tuple(start) for start in starts}, key=len, reverse=True)
    kept: list[tuple[int, ...]] = []
    for start in distinct:
        if not any(branch[: len(start)] == start for branch in kept):
            kept.append(start)
    return kept


def _label_ids(renderer: Renderer, config: SFTConfig) -> list[list[int]]:
    texts = [target_text(label, config) for label in config.task.labels]
    ids = [renderer.answer_ids(text) for text in texts]
    eos = renderer.tokenizer.eos_token_id
    starts = any(a != b and b[: len(a)] == a for a in ids for b in ids)
    if len({tuple(item) for item in ids}) < len(ids):
        raise InputError(f"task.verbalizers: two labels have the same text: {texts}")
    # A label that begins another would always be the likelier one: then every label is scored with its end of turn.
    return [[*item, eos] for item in ids] if starts else ids
