"""Which of the processes that train together this one is, as torchrun says it in the environment; no torch."""

from __future__ import annotations

import os


def rank() -> int:
    """0 for the one that writes files and speaks, and for a process that is alone."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """The index of this process, and of its device, on its node."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Whether a launcher (torchrun) started this process as one of several, or as the only one of its kind."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_main() -> bool:
    return rank() == 0
