"""Records as one batch: padded side by side, or in one row without padding. Either way with the places that carry loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sftlib.config.batching import MIN_SHARED
from sftlib.data.layout import lay_out
from sftlib.data.rendering import IGNORED


@dataclass(frozen=True)
class SupervisedCollator:
    """Records side by side, padded on the left so that answers end in the same columns."""

    pad_id: int
    multiple: int = 1

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = _records(items)
        width = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), -(-width // self.multiple) * self.multiple)
        ids, labels = np.full(shape, self.pad_id, np.int64), np.full(shape, IGNORED, np.int64)
        mask = np.zeros(shape, np.int64)
        for place, row in enumerate(rows):
            start = shape[1] - len(row["input_ids"])
            ids[place, start:] = row["input_ids"]
            # A record's first token has nothing before it: behind padding it would be predicted from a pad.
            labels[place, start + 1 :] = row["labels"][1:]
            mask[place, start:] = 1
        targets = torch.from_numpy(labels)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "position_ids": torch.from_numpy((mask.cumsum(1) - 1).clip(min=0)),
            "labels": targets,
            "record_tokens": torch.tensor(int(mask.sum())),
            **supervision(targets),
        }


@dataclass(frozen=True)
class FlatCollator:
    """Records in one row, each behind the last; with `share`, tokens that several begin with stand once."""

    share: bool = True
    min_shared: int = MIN_SHARED
    varlen: bool = False  # for FlashAttention: records by their cumulative lengths, no mask

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        layout = lay_out(_records(items), share=self.share, min_shared=self.min_shared)
        weights = torch.from_numpy(layout.weights).long()
        targets = torch.from_numpy(layout.targets)
        segments = torch.from_numpy(layout.segments)
        return {
            "input_ids": torch.from_numpy(layout.ids)[None],
            # see sftlib/models/tree_attention.py
            **(_cumulative(segments) if self.varlen else {"attention_mask": segments[None, None]}),
            "position_ids": torch.from_numpy(layout.positions)[None],
            "labels": targets[None],
            "shift_labels": targets.repeat_interleave(weights)[None],  # transformers counts a step's items here
            "record_tokens": torch.tensor(layout.record_tokens),
            "kept": torch.from_numpy(layout.kept),
            "picks": torch.from_numpy(layout.picks),
            "targets": targets,
            "weights": weights,
        }


def _cumulative(segments: torch.Tensor) -> dict[str, Any]:
    """What transformers hands to FlashAttention's kernel for rows without a mask."""
    edges = torch.cat([segments[:1, 0], segments[:, 1]]).int()
    longest = int((segments[:, 1] - segments[:, 0]).max())
    return {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": longest, "max_length_k": longest}


def supervision(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Where a padded batch predicts which token: places are counted through the rows."""
    rows, columns = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    return {
        "kept": rows * labels.shape[1] + columns,
        "picks": torch.arange(len(rows), device=labels.device),
        "targets": labels[rows, columns + 1],
        "weights": torch.ones_like(rows),
    }


def _records(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An item is a record, or a planned row of several."""
    return [record for item in items for record in item.get("records", (item,))]
