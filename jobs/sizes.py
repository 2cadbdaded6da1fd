"""How many records each split will have: arithmetic of the plan, no data read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sftlib.config.data import Source
from sftlib.config.inputs import Split
from sftlib.config.tree import SFTConfig


def split_sizes(config: SFTConfig, splits: Mapping[str, Split]) -> dict[str, int]:
    """Records of each split after subsets, splits off train and sampling."""
    sizes = {name: _subset(len(split), split.source) for name, split in splits.items()}
    for name in ("test", "validation"):
        share = getattr(config.data, f"{name}_size")
        if share is not None and name not in sizes and "train" in sizes:
            sizes[name] = min(sizes["train"], int(share) if share >= 1 else math.ceil(share * sizes["train"]))
            sizes["train"] -= sizes[name]
    if config.data.sample_size is not None and "train" in sizes:
        sizes["train"] = min(sizes["train"], config.data.sample_size)
    return sizes


def _subset(count: int, source: Source) -> int:
    return min(count, source.subset) if source.subset is not None else count
