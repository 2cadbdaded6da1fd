"""Ways to read label probabilities off a model: all labels behind a shared prefix in one row, or plainly one row a label.

The first needs masks of our own; whether a model follows them is tried out, not believed (scoring.LabelScorer.prepare).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from sftlib.errors import SftError
from sftlib.infer.prefixes import Prefix
from sftlib.infer.trees import LabelTree

_FULL, _SLIDING = "full_attention", "sliding_attention"
MASKABLE = ("sdpa", "eager")  # implementations that take a mask as it is


class UnsupportedError(SftError):
    """This model cannot be run in this way."""


class Forward(Protocol):
    """Label log-likelihoods of a batch of prompts: one list a prompt, in the order of the labels."""

    name: str
    extra_tokens: int  # run behind each prompt
    places: int  # positions a row at which the vocabulary is read
    prefix: Prefix  # what is not run again

    def logprobs(self, prompts: Sequence[list[int]]) -> list[list[float]]: ...


class TreeForward:
    """One row a prompt: what follows the prefix, then the labels as a tree; every label reads its places."""

    name = "shared prefix"

    def __init__(self, model: Any, labels: Sequence[Sequence[int]], tree: LabelTree, prefix: Prefix) -> None:
        self.model, self.tree, self.prefix = model, tree, prefix
        self.extra_tokens, self.places = len(tree.tokens), len(tree.tokens) + 1
        self._masks = _Masks(model)
        self._ancestors = torch.tensor(tree.ancestors, dtype=torch.bool).reshape(len(tree.tokens), len(tree.tokens))
        self._depths = torch.tensor(tree.depths, dtype=torch.long)

    def logprobs(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        prefix = self.prefix if all(map(self.prefix.begins, prompts)) else Prefix([])
        start = len(prefix)
        ids, positions, allowed, ends = self._rows([prompt[start:] for prompt in prompts], start)
        nodes = torch.arange(self.places)
        at = torch.tensor(ends)[:, None] - 1 + nodes[None, :]
        logits = self._run(ids, positions, allowed, prefix.shared(self._fill), start, at)
        return _read(logits, self.tree)

    def _rows(self, rests: list[list[int]], start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
        """Token ids (padded on the right), positions, who may look at whom among a row's own tokens, prompts' ends."""
        nodes, ends = len(self.tree.tokens), [len(rest) for rest in rests]
        width = max(ends) + nodes
        # Padding repeats a real token: what it computes is read by nobody.
        ids = torch.tensor([rest + self.tree.tokens + [rest[-1]] * (width - len(rest) - nodes) for rest in rests])
        positions = torch.arange(start, start + width).repeat(len(rests), 1)
        allowed = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(rests), 1, 1)
        for row, end in enumerate(ends):
            positions[row, end : end + nodes] = start + end + self._depths
            allowed[row, end : end + nodes, end : end + nodes] = self._ancestors
        return ids, positions, allowed, ends

    def _fill(self, ids: list[int], cache: Any) -> None:
        """Run the prefix once, into the cache."""
        length = len(ids)
        allowed = torch.ones(1, length, length, dtype=torch.bool).tril()
        self._run(torch.tensor([ids]), torch.arange(length)[None], allowed, cache, 0, torch.tensor([[length - 1]]))

    def _run(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        allowed: torch.Tensor,
        cache: Any,
        start: int,
        at: torch.Tensor,
    ) -> torch.Tensor:
        device = self.model.device
        mask = self._masks.build(allowed, positions, start)
        with only_at(self.model, at):
            return self.model(
                input_ids=ids.to(device), attention_mask=mask, position_ids=positions.to(device),
                past_key_values=cache, use_cache=cache is not None,
            ).logits  # fmt: skip


class RowForward:
    """One row a prompt and label, whole, padded on the right: for models that take no mask of ours."""

    name = "a row for each label"

    def __init__(self, model: Any, labels: Sequence[Sequence[int]], tree: LabelTree, prefix: Prefix) -> None:
        self.model, self.labels, self.prefix = model, [list(ids) for ids in labels], Prefix([])
        self.places = max(map(len, self.labels))
        self.extra_tokens = self.places - 1

    def logprobs(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        tables = [self._label(prompts, ids) for ids in self.labels]
        return [list(row) for row in zip(*tables, strict=True)]

    def _label(self, prompts: Sequence[list[int]], label: list[int]) -> list[float]:
        rows = [[*prompt, *label[:-1]] for prompt in prompts]
        width, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        at = torch.tensor([[len(prompt) - 1 + step for step in range(len(label))] for prompt in prompts])
        with only_at(self.model, at):
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        reading = [(step, token) for step, token in enumerate(label)]
        return [values[0] for values in _read(logits, LabelTree([], [], [reading]))]


class PlainForward(RowForward):
    """Prompt by prompt and label by label, unpadded and uncached: slow, and what the others are compared with."""

    name = "one prompt and label at a time"

    def logprobs(self, prompts: Sequence[list[int]]) -> list[list[float]]:
        return [[self._plain(prompt, label) for label in self.labels] for prompt in prompts]

    def _plain(self, prompt: list[int], label: list[int]) -> float:
        ids = torch.tensor([[*prompt, *label[:-1]]], device=self.model.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :].float().log_softmax(-1)
        return sum(logits[step, token].item() for step, token in enumerate(label))


# Fastest first; the last needs nothing of the model but a forward pass.
FORWARDS: tuple[type[TreeForward] | type[RowForward], ...] = (TreeForward, RowForward, PlainForward)


def _read(logits: torch.Tensor, tree: LabelTree) -> list[list[float]]:
    """Each label's log-likelihood, off logits of shape (rows, places, vocabulary)."""
    logits = logits.float()
    norm = torch.logsumexp(logits, dim=-1)
    sums = [sum(logits[:, place, token] - norm[:, place] for place, token in reading) for reading in tree.readings]
    return torch.stack([value for value in sums if isinstance(value, torch.Tensor)], dim=1).double().tolist()


@contextlib.contextmanager
def only_at(model: Any, at: torch.Tensor) -> Iterator[None]:
    """The output head sees only these positions (rows x places): a vocabulary is wide, and few places are read.
    A hook and not `logits_to_keep`, which takes the same positions of every row."""

    def gather(module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = arguments
        index = at.to(hidden.device)
        return (hidden[torch.arange(len(index), device=hidden.device)[:, None], index], *rest)

    head = model.get_output_embeddings()
    if head is None:
        raise UnsupportedError("the model names no output head")
    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


class _Masks:
    """Additive masks for this model's kinds of layers."""

    def __init__(self, model: Any) -> None:
        text = model.config.get_text_config()
        self._dtype, self._device = model.dtype, model.device
        self._window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
        self._kinds = set(getattr(text, "layer_types", None) or [_SLIDING if self._window else _FULL])
        self._by_kind = getattr(text, "layer_types", None) is not None and _SLIDING in self._kinds
        if not self._kinds <= {_FULL, _SLIDING} or (_SLIDING in self._kinds and not self._window):
            raise UnsupportedError(f"layers of kind {', '.join(sorted(self._kinds - {_FULL}))}")
        if model.config._attn_implementation not in MASKABLE:
            raise UnsupportedError(f"attention implementation {model.config._attn_implementation}")

    def build(self, allowed: torch.Tensor, positions: torch.Tensor, start: int) -> Any:
        rows, width, _ = allowed.shape
        whole = torch.cat([torch.ones(rows, width, start, dtype=torch.bool), allowed], dim=2)
        if not self._by_kind and _SLIDING not in self._kinds:
            return self._additive(whole)
        seen = torch.cat([torch.arange(start).repeat(rows, 1), positions], dim=1)
        near = whole & (positions[:, :, None] - seen[:, None, :] < int(self._window or 0))
        if not self._by_kind:
            return self._additive(near)
        return {_FULL: self._additive(whole), _SLIDING: self._additive(near)}

    def _additive(self, allowed: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(allowed.shape, dtype=self._dtype)
        return mask.masked_fill_(~allowed, torch.finfo(self._dtype).min)[:, None].to(self._device)
