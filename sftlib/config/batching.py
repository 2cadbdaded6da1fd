"""How many tokens a layout of records computes, and what that costs: one arithmetic for trainer and planner, no torch.

Cost is in floating point operations of a forward pass: 2 x parameters for each token, 4 x layers x width for each pair of
tokens that attention looks at. Forward and backward scale alike, so that ratios are those of a training step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_SHARED = 16  # tokens: below this a copy is cheaper than one more stretch for the attention
WORTH = 1.1  # shared beginnings, and on a GPU another attention kernel, have to gain at least this much


@dataclass(frozen=True)
class Work:
    """What a batch makes the model do."""

    tokens: int = 0
    pairs: int = 0  # query-key pairs

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.pairs + other.pairs)

    def flops(self, parameters: int, layers: int, width: int) -> float:
        return 2.0 * parameters * self.tokens + 4.0 * layers * width * self.pairs


def padded_work(lengths: Sequence[int], multiple: int = 1) -> Work:
    """Side by side: each record as long as the longest, and a mask over squares."""
    longest = -(-max(lengths) // multiple) * multiple
    return Work(longest * len(lengths), longest * longest * len(lengths))


def tree_work(segments: Sequence[Sequence[int]]) -> Work:
    """One row of segments (start, end, until): each looks at itself causally, all behind it look at it."""
    tokens = sum(segment[1] - segment[0] for segment in segments)
    pairs = 0
    for start, end, until, *_ in segments:
        own = end - start
        pairs += own * (own + 1) // 2 + (until - end) * own
    return Work(tokens, pairs)


def merged_accumulation(accumulation: int, step_tokens: float, budget: float) -> int:
    """Into how many batches a step is cut whose records stand behind one copy of their beginning: as few as compute no
    more tokens at once than `budget`."""
    parts = (n for n in range(1, accumulation + 1) if accumulation % n == 0)
    return next((n for n in parts if step_tokens / n <= budget), accumulation)
