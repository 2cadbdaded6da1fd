"""A stage's command in, what one of its nodes executes out: the stage itself, or torchrun around it for several processes."""

from __future__ import annotations

from collections.abc import Sequence

from sftlib.config.launch import Rendezvous, torchrun_argv


def launched_argv(
    argv: Sequence[str], *, nodes: int = 1, processes: int = 1, node_rank: int = 0, rendezvous: Rendezvous | None = None
) -> list[str]:
    """`argv` is `python -m sftlib ...`, by the Python of this machine or of the image."""
    if nodes * processes == 1:
        return [*argv]
    python, *stage = argv
    return torchrun_argv(
        stage, nodes=nodes, processes=processes, node_rank=node_rank, rendezvous=rendezvous, command=[python]
    )
