"""Write whole or not at all: a temporary name in the same folder, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# No reader's glob matches these: pyarrow skips a leading dot, duckdb and polars need the suffix `.parquet`.
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".", ".tmp"
_SYNCS = 16  # at once


@contextlib.contextmanager
def replacing(target: Path, *, is_last: bool = True) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it becomes `target` in one step. `is_last=False`: another file
    of the same folder follows at once and pushes both names to the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        f".{os.getpid()}{TEMPORARY_SUFFIX}", f"{TEMPORARY_PREFIX}{target.name}.", target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        share(temporary)
        sync(temporary)
        temporary.replace(target)
        if is_last:
            sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_dir(target: Path) -> Iterator[Path]:
    """The same for a folder: what stood at `target` is moved aside, then removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, f"{TEMPORARY_PREFIX}{target.name}.", target.parent))
    try:
        yield temporary
        share(temporary)
        _sync_all(temporary)
        _swap(temporary, target)
        sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    """Side by side: a file system commits many files in the time of one, and the source alone has hundreds."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, folder.rglob("*")))  # raises what one of them raised


def _swap(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    aside = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, f"{TEMPORARY_PREFIX}{target.name}.old.", target.parent))
    target.rename(aside / target.name)
    temporary.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all. NaN is refused: JSON has none."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(target: Path, line: str) -> None:
    """Append one line in one write, so that a reader never sees a part of it joined to another."""
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, (line + "\n").encode())
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Push a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != 22:  # EINVAL: a file system that has no fsync for folders
            raise
    finally:
        os.close(descriptor)


def share(path: Path) -> None:
    """Give a temporary file or folder the rights of any other: it is made for its owner alone, and a colleague in the
    project group could not read it."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
