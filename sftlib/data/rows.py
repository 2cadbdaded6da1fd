"""Rows to train on, whatever holds them: flat token ids, where each row ends, and which tokens are supervised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.data.rendering import IGNORED, TrainingRow
from sftlib.paths import TokenPaths


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a split in the order of their records: `rows[i]` is `{"input_ids", "labels"}`, lists of int."""

    ids: npt.NDArray[np.int32]  # every row's token ids, one after the other
    supervised: npt.NDArray[np.bool_]  # for each token, whether the loss counts it
    offsets: npt.NDArray[np.int64]  # row i is ids[offsets[i]:offsets[i + 1]]
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many
    folder: TokenPaths | None = None  # where the arrays are mapped from

    @classmethod
    def of(cls, rows: Sequence[TrainingRow], dropped: dict[str, int] | None = None) -> Rows:
        """Rows that are held in memory."""
        offsets = np.cumsum([0, *(len(row.ids) for row in rows)], dtype=np.int64)
        ids = np.fromiter(chain.from_iterable(row.ids for row in rows), np.int32, offsets[-1])
        labels = np.fromiter(chain.from_iterable(row.labels for row in rows), np.int32, offsets[-1])
        return cls(ids, labels != IGNORED, offsets, dropped or {})

    @classmethod
    def mapped(cls, folder: TokenPaths, dropped: dict[str, int]) -> Rows:
        """Rows of an entry of the token cache: read where they lie, by every process alike, when they are asked for."""
        ids = np.memmap(folder.ids, np.int32, "r")
        supervised = np.memmap(folder.supervised, np.bool_, "r")
        offsets = np.memmap(folder.offsets, np.int64, "r")
        return cls(ids.view(np.ndarray), supervised.view(np.ndarray), offsets.view(np.ndarray), dropped, folder)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Another process maps the files itself instead of being sent what they hold."""
        if self.folder is not None:
            return Rows.mapped, (self.folder, self.dropped)
        return Rows, (self.ids, self.supervised, self.offsets, self.dropped)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {name: values.tolist() for name, values in self.arrays(index).items()}

    def arrays(self, index: int) -> dict[str, npt.NDArray[np.int32]]:
        """`rows[index]` without a list: what batches are made of."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        part = slice(self.offsets[index], self.offsets[index + 1])
        ids = self.ids[part]
        return {"input_ids": ids, "labels": np.where(self.supervised[part], ids, np.int32(IGNORED))}

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row."""
        return np.diff(self.offsets)

    @property
    def tokens(self) -> int:
        return int(self.offsets[-1])

    @property
    def supervised_tokens(self) -> int:
        return int(np.count_nonzero(self.supervised))

    def as_dataset(self) -> Any:
        """A `datasets.Dataset` of row numbers that are looked up when a batch asks for them: nothing is copied."""
        from datasets import Dataset

        return Dataset.from_dict({"row": np.arange(len(self))}).with_transform(self._looked_up)

    def _looked_up(self, batch: dict[str, Sequence[int]]) -> dict[str, list[npt.NDArray[np.int32]]]:
        rows = [self.arrays(int(index)) for index in batch["row"]]
        return {name: [row[name] for row in rows] for name in ("input_ids", "labels")}
