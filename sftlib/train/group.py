"""The process group of the ranks that train one cell: opened once, waited in, agreed in, closed. One rank needs none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from sftlib.artifacts.ranks import is_launched, is_main, local_rank, world_size
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.train.links import check_links

# Preparing data may take rank 0 hours; the others wait, and learn at once when it dies: their connection closes.
_PATIENCE = timedelta(days=2)
_waiting: dist.ProcessGroup | None = None


def open_group(timeout_min: int) -> None:
    """Join the other ranks, when a launcher started several. A collective silent for `timeout_min` counts as hung."""
    global _waiting
    if not is_launched() or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=timeout_min))
    check_links()
    _waiting = dist.new_group(backend="gloo", timeout=_PATIENCE)


def close_group() -> None:
    """Leave the group; a process that ends without it makes the others complain."""
    if dist.is_initialized():
        dist.destroy_process_group()


def check_world(config: SFTConfig) -> None:
    """As many processes are here as the experiment asks for."""
    parallel, started = config.parallel, world_size()
    if parallel.world_size == started:
        return
    raise InputError(
        f"parallel asks for {parallel.nodes} x {parallel.gpus_per_node} = {parallel.world_size} processes "
        f"({parallel.strategy}), and {started} was started: torchrun --nnodes {parallel.nodes} --nproc-per-node "
        f"{parallel.gpus_per_node} -m sftlib train ... (sft run does it), or change parallel"
    )


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """Rank 0 goes through the block alone; the others follow, and find what it left in the cache."""
    if not is_main():
        wait_for_all()
    yield
    if is_main():
        wait_for_all()


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier(group=_waiting)


def any_rank(flag: bool) -> bool:
    """Whether it is so on any rank: what one rank was told, all must do at the same step."""
    if not dist.is_initialized():
        return flag
    told = torch.tensor([int(flag)])  # on the CPU: no device is waited for
    dist.all_reduce(told, op=dist.ReduceOp.MAX)
    return bool(told.item())


def as_main_says(number: int) -> int:
    """Rank 0's number on every rank: a shared file system may show each of them something else."""
    if not dist.is_initialized():
        return number
    told = torch.tensor([number])
    dist.broadcast(told, src=0)
    return int(told.item())
