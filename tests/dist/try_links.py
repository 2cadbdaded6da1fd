"""Two ranks that try their links: sound, then with a wrong number of rank 1, then with a rank 1 that never adds."""

import sys
import time

import torch.distributed as dist

from sftlib.artifacts.processes import write_lines_whole
from sftlib.errors import UnhealthyNodeError, guard
from sftlib.train import links


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    links.check_links()
    print("sound")
    with_rank, dist.get_rank = dist.get_rank, lambda: 7 if rank else 0  # type: ignore[assignment]
    try:
        links.check_links()
    except UnhealthyNodeError as error:
        print(error)
    dist.get_rank = with_rank
    if rank == 1:
        time.sleep(60)
    links.check_links(limit_s=2.0)


if __name__ == "__main__":
    write_lines_whole()
    sys.exit(guard(main))
