"""Who works on which shard: a claim is a file that one process alone can create, and a dead process's claim is taken over.

Claims only save work. What is true stands in the manifests: should two processes ever predict the same shard, the commit
of each is whole and the second replaces the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from sftlib.artifacts.atomic import TEMPORARY_SUFFIX
from sftlib.artifacts.processes import Process, current_process
from sftlib.paths import CellPaths

# A claim of another host counts as dead when it was not renewed for this long; of this host the process is asked.
RENEW_S, EXPIRES_S = 10.0, 90.0


class Claim:
    """A shard that this process works on, until released."""

    def __init__(self, path: Path, older: list[Path]) -> None:
        self.path, self._older = path, older

    def release(self) -> None:
        """Newest last: whoever takes the first again meanwhile takes over from one that has ended."""
        _renewed.discard(self.path)
        for path in [*self._older, self.path]:
            path.unlink(missing_ok=True)


def take_claim(cell: CellPaths, index: int, count: int) -> Claim | None:
    """The shard for this process, or None while another one that lives works on it."""
    cell.predictions.mkdir(parents=True, exist_ok=True)
    with _signed(cell.predictions) as signed:
        found: list[Path] = []
        path = cell.shard_claim(index, count, 0)
        if path.exists():  # only then is the folder listed: with many shards, on a file server, that takes its time
            found = _claims(cell, index, count)
            if found and _is_held(found[-1], signed):
                return None
            # Numbers only rise, so that two that find the same dead claim meet at one name, which `link` gives to one.
            path = cell.shard_claim(index, count, int(found[-1].name.rpartition("-")[2]) + 1 if found else 0)
        try:
            os.link(signed, path)
        except (FileExistsError, FileNotFoundError):  # the second: all shards are there, and somebody tidied up
            return None
    _renew(path)
    return Claim(path, found)


@contextlib.contextmanager
def _signed(folder: Path) -> Iterator[Path]:
    """A file with this process's name in it, removed at the end; its time is the file server's own now."""
    handle, name = tempfile.mkstemp(TEMPORARY_SUFFIX, ".claim.", folder)
    try:
        with os.fdopen(handle, "w") as stream:
            json.dump(current_process().to_json(), stream)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def is_claim(path: Path) -> bool:
    return path.name.startswith(".part-") and ".claim-" in path.name


def is_held_claim(path: Path) -> bool:
    """Whether its process lives, as far as can be told."""
    with _signed(path.parent) as signed:
        return _is_held(path, signed)


def _claims(cell: CellPaths, index: int, count: int) -> list[Path]:
    pattern = cell.shard_claim(index, count, 0).name.removesuffix("0") + "*"
    return sorted(cell.predictions.glob(pattern), key=lambda path: int(path.name.rpartition("-")[2]))


def _is_held(claim: Path, signed: Path) -> bool:
    try:
        owner = Process.from_json(json.loads(claim.read_text(encoding="utf-8")))
        age_s = signed.stat().st_mtime - claim.stat().st_mtime
    except FileNotFoundError:  # released this moment: its shard is there
        return True
    except (ValueError, KeyError, TypeError):
        return False
    return owner.is_alive if owner.host == socket.gethostname() else age_s < EXPIRES_S


_renewed: set[Path] = set()
_renewer: list[threading.Thread] = []


def _renew(path: Path) -> None:
    """Keep the time of this process's claims fresh, by one thread for all of them."""
    _renewed.add(path)
    if not _renewer:
        _renewer.append(threading.Thread(target=_keep_fresh, daemon=True, name="claims"))
        _renewer[0].start()


def _keep_fresh() -> None:
    while not threading.Event().wait(RENEW_S):
        for path in list(_renewed):
            with contextlib.suppress(OSError):
                os.utime(path)
