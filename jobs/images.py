"""An image made ready on a node: its hash verified once a node, and copied to node-local disk where that is asked for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sftlib.artifacts.atomic import replacing, write_json
from sftlib.artifacts.hashing import sha256_file, sha256_text
from sftlib.errors import InputError, UnhealthyNodeError


def node_folder(scratch: str | None) -> Path:
    """Where this node keeps what all elements of this user share."""
    folder = Path(scratch or tempfile.gettempdir()) / f"sftlib-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UnhealthyNodeError(f"{folder} belongs to somebody else: set cluster.scratch to a folder of your own")
    return folder


def hashes(scratch: str | None) -> Path:
    """Where this node remembers the hashes of large files."""
    return node_folder(scratch) / "hashes"


def remembered_sha256(file: Path, memory: Path) -> str:
    """The hash of a large file; remembered in the folder `memory` for as long as the file does not change."""
    memory.mkdir(parents=True, exist_ok=True)
    known = memory / f"{sha256_text(str(file))[:16]}.json"
    stat = file.stat()
    state = {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
    with contextlib.suppress(OSError, ValueError, KeyError):
        record = json.loads(known.read_text(encoding="utf-8"))
        if record["state"] == state:
            return str(record["sha256"])
    digest = sha256_file(file)
    write_json(known, {"state": state, "sha256": digest})
    return digest


def ready_image(image: Path, sha256: str, staging: str | None) -> Path:
    """The path under which this node uses the image; raises where it is not the image of the submission."""
    if not image.exists():
        raise InputError(f"image {image} is not there: build it with `sft container build`, or mend container.image")
    if image.is_dir():
        return image  # a sandbox: nothing to hash, said at plan time
    folder = node_folder(staging)
    with _one_at_a_time(folder / "images.lock"):
        if staging:
            image = _staged(image, sha256, folder / "images")
        found = remembered_sha256(image, hashes(staging))
    if sha256 and found != sha256:
        raise InputError(f"image {image} has sha256 {found}, expected {sha256}: it was changed after the submission")
    return image


def _staged(image: Path, sha256: str, folder: Path) -> Path:
    target = folder / f"{sha256}{image.suffix}"
    if not target.exists():
        with replacing(target) as temporary:
            shutil.copyfile(image, temporary)
    return target


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Elements that start on a node together hash and copy once; a node-local disk has locks."""
    with lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
