"""LoRA+: the B matrices learn faster than the A matrices. Done on the optimiser's groups, so that any optimiser will do."""

from __future__ import annotations

from typing import Any

B_MATRICES = ("lora_B", "lora_embedding_B")


def speed_up_b(optimizer: Any, model: Any, ratio: float) -> None:
    """Move the B matrices of each group to a group of their own, whose learning rate is `ratio` times as high."""
    fast = {id(parameter) for name, parameter in model.named_parameters() if any(part in name for part in B_MATRICES)}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in fast]
        if not moved:
            continue
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in fast]
        settings = {name: value for name, value in group.items() if name != "params"}
        optimizer.add_param_group({**settings, "params": moved, "lr": group["lr"] * ratio})
