"""Whether the ranks of a cell reach each other: a small sum over all of them, before anything large is loaded.

A link that is down makes the first collective hang, for half an hour by default, and a sick device may add up wrongly.
python -m sftlib.train.agent --standalone --nproc-per-node 2 -m sftlib.train.links      tries it on this machine
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

import torch
import torch.distributed as dist

from sftlib.artifacts.processes import write_lines_whole
from sftlib.artifacts.ranks import local_rank
from sftlib.errors import NODES_VARIABLE, UNHEALTHY_NODE, UnhealthyNodeError, guard

LIMIT_S = 180.0  # NCCL connects at the first collective: over many nodes that alone takes its time
_NUMBERS = 4096
_REMEDY = (
    "the network between the nodes is down, or another interface must be named in cluster.environment "
    "(NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME)"
)


def check_links(limit_s: float = LIMIT_S) -> None:
    """Every rank adds its own number. A wrong sum raises; none within `limit_s` ends this process with exit 69."""
    ranks = dist.get_world_size()
    where = "cuda" if torch.cuda.is_available() else "cpu"
    numbers = torch.full((_NUMBERS,), float(dist.get_rank() + 1), device=where)
    try:
        with _deadline(limit_s):
            dist.all_reduce(numbers)
            found = numbers.cpu()  # waits for the device
    except RuntimeError as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnhealthyNodeError(f"the {ranks} ranks{_on_nodes()} do not reach each other: {said}; {_REMEDY}") from None
    expected = ranks * (ranks + 1) / 2
    wrong = int((found != expected).sum())
    if wrong:
        raise UnhealthyNodeError(
            f"the sum over {ranks} ranks{_on_nodes()} is wrong in {wrong} of {_NUMBERS} places: expected {expected:g}, "
            f"found {found[found != expected][0]:g}; a device or a link is broken"
        )


@contextlib.contextmanager
def _deadline(limit_s: float) -> Iterator[None]:
    """A collective that hangs cannot be interrupted: this process ends, and the launcher ends the others."""
    timer = threading.Timer(limit_s, _give_up, [limit_s])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(limit_s: float) -> None:
    if local_rank() == 0:
        message = (
            f"the {dist.get_world_size()} ranks{_on_nodes()} could not add a number within {limit_s:g} s: {_REMEDY}"
        )
        print(f"sft: {message}", file=sys.stderr, flush=True)
    os._exit(UNHEALTHY_NODE)


def _on_nodes() -> str:
    nodes = os.environ.get(NODES_VARIABLE)
    return f" on {nodes}" if nodes else ""


def _try_here() -> None:
    """For `sft doctor`: join, add, say how long it took."""
    from sftlib.train.group import close_group, open_group

    started = time.monotonic()
    open_group(timeout_min=1)
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} ranks by {dist.get_backend()} in {time.monotonic() - started:.1f} s")
    close_group()


if __name__ == "__main__":
    write_lines_whole()
    sys.exit(guard(_try_here))
