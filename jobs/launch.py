"""An element in, the argv of one of its nodes out: the stage itself, or torchrun around it where several processes train."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.plan import Element
from sftlib.config.launch import STAGE_COMMAND, Rendezvous, torchrun_argv


def element_argv(
    element: Element,
    *,
    node_rank: int = 0,
    rendezvous: Rendezvous | None = None,
    command: Sequence[str] = STAGE_COMMAND,
) -> list[str]:
    """What is executed on node `node_rank`. `command` runs a stage there: inside an image `python3 -m sftlib`."""
    if element.nodes * element.processes == 1:
        return [*command, *element.argv]
    return torchrun_argv(
        element.argv, nodes=element.nodes, processes=element.processes, node_rank=node_rank, rendezvous=rendezvous,
        command=command,
    )  # fmt: skip
