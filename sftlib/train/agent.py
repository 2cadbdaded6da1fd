"""torchrun's agent with two habits of our own: it ends with the exit code of the rank that ended first, and a request
to stop reaches the ranks as a request.

Plain torchrun ends with 1 whatever happened, kills the ranks 30 s after TERM, and dies of USR1 and USR2.

python -m sftlib.train.agent --nproc-per-node 2 -m sftlib train runs/latest --cell r8
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftlib.errors import BAD_CONFIG, BAD_DATA, REQUEUE, UNHEALTHY_NODE, WRONG_INPUT

_REQUESTS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_TOLD = (BAD_CONFIG, BAD_DATA, UNHEALTHY_NODE, REQUEUE, WRONG_INPUT)


def main(arguments: list[str] | None = None) -> int:
    """Run the ranks of this node to their end."""
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    parsed = get_args_parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    parsed.signals_to_handle = "SIGINT,SIGHUP,SIGQUIT"
    for number in _REQUESTS:
        signal.signal(number, _hand_on)
    try:
        with tempfile.TemporaryDirectory(prefix="sft-torchrun-") as folder:  # torchrun leaves its own behind
            parsed.log_dir = parsed.log_dir or folder
            run(parsed)
    except ChildFailedError as error:
        return exit_code(_codes(error))
    except DistNetworkError as error:
        print(f"sft: the nodes of this element do not find each other: {str(error).splitlines()[0]}", file=sys.stderr)
        return UNHEALTHY_NODE
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _codes(error: Any) -> dict[int, int]:
    """rank -> exit code, of the ranks that ended badly."""
    for rank, failure in error.failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            print(f"sft: rank {rank} was killed by {signal.Signals(-failure.exitcode).name}", file=sys.stderr)
    return {rank: failure.exitcode for rank, failure in error.failures.items()}


def exit_code(codes: dict[int, int]) -> int:
    """The code that says most: a kill, then what a rank said itself. The others only met a peer that was gone."""
    killed = [code for code in codes.values() if code < 0 and code != -signal.SIGTERM]
    if killed:
        return 128 - killed[0]
    said = [code for code in codes.values() if code in _TOLD]
    ended = [code for code in codes.values() if code > 0]
    return said[0] if said else ended[0] if ended else 128 + signal.SIGTERM


def _hand_on(number: int, frame: Any) -> None:
    """The ranks finish their step, save and end; whoever asked decides how long that may take."""
    for child in children(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGTERM)  # whatever came: helpers of Python's own ignore this one and die of others


def children(parent: int) -> Iterator[int]:
    """The processes that a process has started and that are there."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, _, fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")  # a name may hold blanks
            if int(fields.split()[1]) == parent:
                yield int(stat.parent.name)


if __name__ == "__main__":
    sys.exit(main())
