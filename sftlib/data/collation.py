"""Rows as one batch, padded on the left so that answers end in the same columns, with the columns that carry loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sftlib.data.rendering import IGNORED


@dataclass(frozen=True)
class SupervisedCollator:
    """Collates rows of `input_ids` and `labels`. `logits_to_keep` lists the positions whose next token is supervised
    in any row: the model's output head runs on those alone, instead of on prompts and padding."""

    pad_id: int
    multiple: int = 1

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        width = -(-width // self.multiple) * self.multiple
        mask = torch.tensor([[0] * (width - len(row["input_ids"])) + [1] * len(row["input_ids"]) for row in rows])
        labels = torch.tensor([_padded(row["labels"], IGNORED, width) for row in rows])
        return {
            "input_ids": torch.tensor([_padded(row["input_ids"], self.pad_id, width) for row in rows]),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            "labels": labels,
            "logits_to_keep": kept_positions(labels),
        }


def kept_positions(labels: torch.Tensor) -> torch.Tensor:
    """Positions whose next token is supervised in any row; the last one where nothing is, so that a loss exists."""
    supervised = (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
    return supervised if len(supervised) else torch.tensor([labels.shape[1] - 2])


def _padded(values: Sequence[int], filler: int, width: int) -> list[int]:
    return [filler] * (width - len(values)) + list(values)
