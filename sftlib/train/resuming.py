"""A checkpoint gives back what was saved, in the very types it had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def keeping_types(model: Any) -> Iterator[None]:
    """PEFT loads an adapter in float32, whatever it was trained in: a resumed 4-bit training would round its updates
    otherwise than the one that was not interrupted."""
    types = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in types and parameter.dtype != types[name]:
            parameter.data = parameter.data.to(types[name])
