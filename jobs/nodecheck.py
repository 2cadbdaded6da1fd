"""Whether a node can do an element's work, looked at before the stage starts: what is wrong with it, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs import machine

_LEAST_SHM_MB = 64  # data loaders and NCCL talk through it
_LEAST_FREE_MB = 100


@dataclass(frozen=True)
class NodeNeeds:
    """What an element asks of each of its nodes."""

    gpus: int = 0
    memory_gb: int | None = None
    folders: tuple[str, ...] = ()  # written to
    scratch: str | None = None
    processes: int = 1


def node_faults(needs: NodeNeeds) -> list[str]:
    """Every reason why this node cannot do it."""
    return [fault for check in _CHECKS for fault in check(needs)]


def _devices(needs: NodeNeeds) -> Iterator[str]:
    """Slurm's own list of what this job may use says how many there must be; the driver says how many answer."""
    if not needs.gpus or not (Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()):
        return
    answering = len(machine.device_names())
    if answering < needs.gpus:
        yield f"{answering} GPUs answer, {needs.gpus} were asked for"


def _memory(needs: NodeNeeds) -> Iterator[str]:
    free = machine.memory_gb()
    if needs.memory_gb and free is not None and free < 0.5 * needs.memory_gb:
        yield f"{free:.1f} GiB of memory are free, {needs.memory_gb} were asked for: somebody else's processes are left"


def _shared_memory(needs: NodeNeeds) -> Iterator[str]:
    folder = Path("/dev/shm")
    if needs.processes < 2 or not folder.exists():
        return
    if shutil.disk_usage(folder).free < _LEAST_SHM_MB << 20:
        yield f"{folder} has less than {_LEAST_SHM_MB} MB free"
    yield from _not_writable(folder)


def _folders(needs: NodeNeeds) -> Iterator[str]:
    for folder in (*needs.folders, *([needs.scratch] if needs.scratch else [])):
        path = Path(folder)
        if not path.is_dir():
            yield f"{folder} is not there: is its file system mounted?"
            continue
        yield from _not_writable(path)
        if shutil.disk_usage(path).free < _LEAST_FREE_MB << 20:
            yield f"{folder} has less than {_LEAST_FREE_MB} MB free"


def _not_writable(folder: Path) -> Iterator[str]:
    """A file system that was remounted read-only, or one that hangs in an error, shows only when it is written to."""
    probe = folder / f".sftlib-probe-{os.uname().nodename}-{os.getpid()}"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        yield f"{folder} cannot be written to: {error.strerror}"


_CHECKS: list[Callable[[NodeNeeds], Iterator[str]]] = [_devices, _memory, _shared_memory, _folders]
