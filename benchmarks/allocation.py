"""The peak of all tensors that live at once, counted by torch's own dispatcher: the same on every machine, to the byte."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Allocation(TorchDispatchMode):
    """While entered, follows every storage that an operator makes, from its birth to its release."""

    def __init__(self, present: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.bytes = self.peak_bytes = 0
        self._living: dict[int, int] = {}
        for tensor in present:
            self._add(tensor)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if isinstance(value, torch.Tensor):
                self._add(value)
        return result

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._living:
            return
        self._living[key] = size
        self.bytes += size
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.bytes -= self._living.pop(key, 0)


def step_peak_bytes(model: Any, *, tokens: int, positions: int, has_autocast: bool) -> int:
    """The peak of one training step of AdamW on one row, weights and optimiser state among it."""
    from torch.nn.functional import cross_entropy

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained)
    ids = torch.randint(0, model.config.vocab_size, (1, tokens))
    kept = torch.arange(tokens - positions, tokens)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_autocast):
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        cross_entropy(logits.flatten(0, 1).float(), torch.zeros(positions, dtype=torch.long)).backward()

    step()  # makes the optimiser's state
    optimiser.step()
    optimiser.zero_grad()
    state = [
        value for values in optimiser.state.values() for value in values.values() if isinstance(value, torch.Tensor)
    ]
    with Allocation([*model.parameters(), *model.buffers(), *state]) as allocation:
        step()
    return allocation.peak_bytes
