"""What shapes the next token besides the model: the task's valid answers, and sampling that does not depend on the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sftlib.artifacts.hashing import sha256_value
from sftlib.data.rendering import Prompt


class NumberCheck:
    """Marks the rows for which the model gave no numbers; what is decoded of them afterwards means nothing."""

    def __init__(self) -> None:
        self.failed: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        now = ~(scores.amax(-1) < torch.inf)  # nan is not
        self.failed = now if self.failed is None else self.failed | now
        return scores.masked_fill(now[:, None], 0.0)


class AnswerConstraint:
    """Lets through only tokens by which an answer can still become one of `answers` (token ids, end of turn included)."""

    def __init__(self, answers: Sequence[Sequence[int]], prompt_width: int) -> None:
        self._width = prompt_width
        self._next: dict[tuple[int, ...], list[int]] = {}
        for answer in answers:
            for at, token in enumerate(answer):
                self._next.setdefault(tuple(answer[:at]), []).append(token)
        self._end = answers[0][-1]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        blocked = torch.ones_like(scores, dtype=torch.bool)
        for row, said in enumerate(input_ids[:, self._width :].tolist()):
            blocked[row, self._next.get(tuple(said), [self._end])] = False  # a finished row is padded anyway
        return scores.masked_fill(blocked, -torch.inf)


class RecordSampling:
    """Sampling as a choice of the largest: each record draws its own noise, whoever shares its batch (Gumbel's trick)."""

    def __init__(self, prompts: Sequence[Prompt], seed: int, temperature: float, top_p: float) -> None:
        self._draws = [torch.Generator().manual_seed(record_seed(seed, prompt)) for prompt in prompts]
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits = _nucleus(scores.float() / self._temperature, self._top_p)
        width = logits.shape[-1]
        noise = torch.stack([-torch.empty(width).exponential_(generator=draw).log() for draw in self._draws])
        return logits + noise.to(logits.device)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The fewest tokens that hold `top_p` of the probability; the others are out."""
    if top_p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    is_out = before >= top_p
    return logits.masked_fill(is_out.scatter(-1, order, is_out), -torch.inf)


def record_seed(seed: int, prompt: Prompt) -> int:
    """By the record's id too: equal prompts draw differently, whichever shards they are in."""
    return int(sha256_value([seed, prompt.ids, prompt.sample_id])[:15], 16)


def valid_answers(label_ids: Sequence[Sequence[int]], eos: int) -> list[list[int]]:
    """Each label's tokens, ended."""
    return [[*ids, eos] if ids[-1] != eos else list(ids) for ids in label_ids]
