"""The beginning that all prompts share: found once, run once, and its keys and values read by every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from sftlib.config.tree import SFTConfig

_MINIMUM = 8  # tokens; a shorter beginning is not worth the second forward pass


def common_prefix(rows: Sequence[list[int]]) -> list[int]:
    """What all rows begin with, one token of each left over: a row must have something to run."""
    if not rows:
        return []
    least, most = min(rows), max(rows)  # the two that differ earliest
    room = min(map(len, rows)) - 1
    length = next((at for at, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), room)
    return list(least[: max(0, min(length, room))])


class _SharedLayer(DynamicLayer):
    """Keys and values of the prefix, handed to any number of rows and never grown."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None and self.values is not None
        rows = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


Fill = Callable[[list[int], DynamicCache], None]  # runs token ids into a cache


def shared_prefix(rows: Sequence[list[int]], config: SFTConfig) -> Prefix:
    """What these prompts begin with, where that is wanted and long enough."""
    ids = common_prefix(rows) if config.predict.prefix_cache else []
    return Prefix(ids if len(ids) >= _MINIMUM else [])


class Prefix:
    """A beginning and its keys and values under the model as it is now (its adapter included)."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __len__(self) -> int:
        return len(self.ids)

    def begins(self, ids: Sequence[int]) -> bool:
        return len(ids) > len(self.ids) and list(ids[: len(self.ids)]) == self.ids

    def shared(self, fill: Fill) -> Cache | None:
        """A cache that every row of a batch reads; `fill` runs the prefix on first use."""
        return Cache(layers=[_SharedLayer(*layer) for layer in self._filled(fill)]) if self.ids else None

    def copied(self, rows: int, fill: Fill) -> DynamicCache | None:
        """A cache of `rows` rows that may be grown, for decoding."""
        if not self.ids:
            return None
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self._filled(fill)):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache

    def _filled(self, fill: Fill) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if not self._layers:
            cache = DynamicCache()  # without the model's configuration: layers with a window keep all of it, we mask
            fill(self.ids, cache)
            layers: list[Any] = cache.layers
            self._layers = [(layer.keys, layer.values) for layer in layers]
        return self._layers
