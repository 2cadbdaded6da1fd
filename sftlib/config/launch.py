"""The command line that starts the processes of one stage on one node: torchrun's, with our exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

AGENT = "sftlib.train.agent"
STAGE_COMMAND = (sys.executable, "-m", "sftlib")


@dataclass(frozen=True)
class Rendezvous:
    """Where the agents of one cell's nodes meet: the first node's name or address, and a port free there."""

    host: str
    port: int


def torchrun_argv(
    stage: Sequence[str],
    *,
    nodes: int = 1,
    processes: int,
    node_rank: int = 0,
    rendezvous: Rendezvous | None = None,
    command: Sequence[str] = STAGE_COMMAND,
) -> list[str]:
    """`python -m sftlib.train.agent ... -m sftlib train ...`; one node without a rendezvous takes any free port.

    A rank that ends, ends the step (no restarts here: the supervisor goes on from the checkpoint).
    """
    if rendezvous is None:
        if nodes > 1:
            raise ValueError("several nodes need a rendezvous")
        where = ["--standalone"]
    else:
        where = ["--node-rank", str(node_rank), "--master-addr", rendezvous.host, "--master-port", str(rendezvous.port)]
    shape = ["--nnodes", str(nodes), "--nproc-per-node", str(processes), "--max-restarts", "0"]
    python, *module = command
    return [python, "-m", AGENT, *shape, *where, *module, *stage]
