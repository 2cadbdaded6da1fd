"""Arrays that are needed once more and are too many for memory: they come in, lie in a file without a name, go out."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sftlib.metrics.formulas import Array


@dataclass(frozen=True)
class Piece:
    """Where an array lies."""

    offset: int
    count: int
    kind: Any


class Scratch:
    """A file in the folder that is written to anyway (the usual temporary folder of a node may be memory); gone when
    the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as this object
        self._end = 0

    def put(self, values: Array) -> Piece:
        """Keep an array of small integers."""
        data = np.ascontiguousarray(values)
        piece = Piece(self._end, len(data), data.dtype)
        self._file.write(data.data)
        self._end += data.nbytes
        return piece

    def get(self, piece: Piece) -> Array:
        self._file.flush()
        size = piece.count * piece.kind.itemsize
        data = os.pread(self._file.fileno(), size, piece.offset)
        return np.frombuffer(data, piece.kind)

    def close(self) -> None:
        self._file.close()
