"""The token cache as folders: an entry is named by all that its content depends on and appears by one rename.

There is no lock: whoever builds does so in a folder of its own, and the first to rename wins. What a killed builder
leaves carries its host and process in its name, is never read, and is cleaned up by the next builder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, share, sync, write_json
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.errors import CorruptError
from sftlib.paths import TokenPaths, token_cache

SCHEMA_VERSION = 1
_HOUR_S = 3600.0
# A builder writes every few seconds. On its own host it is asked for by process id as well; a process id of another
# container with the same host name says nothing, hence the wait.
_SILENT_HERE_S, _SILENT_ELSEWHERE_S = _HOUR_S / 6, 24 * _HOUR_S


@dataclass(frozen=True)
class ArrayFile:
    """One array as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """What `entry.json` says of one tokenised split."""

    key: str
    split: str
    source: str  # where the records came from; for people, not part of the key
    tokenizer: str  # likewise
    template: str
    parts: dict[str, Any]  # what the key was made of
    records: int  # read
    rows: int  # kept
    tokens: int
    supervised_tokens: int
    longest: int
    files: dict[str, ArrayFile]
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many
    created: float = 0.0
    seconds: float = 0.0
    sftlib: str = ""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_header(folder: TokenPaths, entry: Entry) -> None:
    """The header is hashed too: a flipped bit in a count is found when it is read."""
    value = {"schema_version": SCHEMA_VERSION, **entry.to_json()}
    write_json(folder.header, {**value, "sha256": sha256_value(value)})


def read_entry(folder: TokenPaths, *, deep: bool = False) -> Entry:
    """The header of an entry whose arrays have the sizes it names; `deep` hashes them. Raises CorruptError."""
    try:
        value = json.loads(folder.header.read_text(encoding="utf-8"))
        digest = value.pop("sha256")
        is_whole = sha256_value(value) == digest
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{folder.header} cannot be read ({type(error).__name__}: {error})") from None
    if not is_whole or value.pop("schema_version") != SCHEMA_VERSION:
        raise CorruptError(f"{folder.header} is not as it was written")
    files = {name: ArrayFile(**file) for name, file in value.pop("files").items()}
    for name, file in files.items():
        _check(folder.root / name, file, deep=deep)
    return Entry(**value, files=files)


def _check(path: Path, file: ArrayFile, *, deep: bool) -> None:
    size = path.stat().st_size if path.exists() else None
    if size != file.bytes:
        raise CorruptError(f"{path} has {size if size is not None else 'no'} bytes, expected {file.bytes}")
    if deep and sha256_file(path) != file.sha256:
        raise CorruptError(f"{path} has another sha256 than when it was written")


def find_entry(key: str) -> tuple[TokenPaths, Entry] | None:
    """The whole entry of this key, marked as used; None where there is none. A damaged one is set aside."""
    folder = TokenPaths(token_cache() / key)
    if not folder.root.exists():
        return None
    try:
        entry = read_entry(folder)
    except CorruptError:
        _set_aside(folder)
        return None
    with contextlib.suppress(OSError):  # a colleague's entry, or a read-only cache
        os.utime(folder.header)
    return folder, entry


@contextlib.contextmanager
def building(key: str) -> Iterator[TokenPaths]:
    """A folder to fill; when the block ends well it becomes the entry, unless another builder was faster."""
    root = token_cache()
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers()
    prefix = f"{TEMPORARY_PREFIX}{key}.{socket.gethostname()}.{os.getpid()}."
    temporary = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, prefix, root))
    try:
        yield TokenPaths(temporary)
        _publish(temporary, root / key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, target: Path) -> None:
    share(temporary)
    for path in (*temporary.iterdir(), temporary):
        sync(path)
    try:
        temporary.rename(target)
    except OSError:  # a folder that is not empty: the other builder's entry is as good as ours
        if not target.exists():
            raise
    sync(target.parent)


def _set_aside(folder: TokenPaths) -> None:
    """Move a damaged entry out of the way; what another builder has put in its place meanwhile goes back."""
    prefix = f"{TEMPORARY_PREFIX}{folder.root.name}.{socket.gethostname()}.{os.getpid()}."
    aside = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, prefix, folder.root.parent))
    moved = TokenPaths(aside / folder.root.name)
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.root.rename(moved.root)
            with contextlib.suppress(CorruptError, OSError):
                read_entry(moved)
                moved.root.rename(folder.root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def all_entries() -> Iterator[tuple[TokenPaths, Entry | str]]:
    """Every entry, and its header or what is wrong with it."""
    root = token_cache()
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_dir() and not path.name.startswith(TEMPORARY_PREFIX):
            folder = TokenPaths(path)
            try:
                yield folder, read_entry(folder)
            except CorruptError as error:
                yield folder, str(error)


def last_used(folder: TokenPaths) -> float:
    try:
        return folder.header.stat().st_mtime
    except OSError:
        return 0.0


def leftovers() -> list[Path]:
    """Folders of builders that are gone."""
    root = token_cache()
    found = root.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}") if root.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and _is_left(path))


def remove_leftovers() -> int:
    found = leftovers()
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _is_left(path: Path) -> bool:
    """Whether its builder is gone: dead on this host and silent for a while, or elsewhere and silent for a day."""
    try:
        newest = max(item.stat().st_mtime for item in (path, *path.iterdir()))
    except OSError:  # published or removed while we looked
        return False
    silent_s = time.time() - newest
    host, pid = _builder(path)
    if host != socket.gethostname():
        return silent_s > _SILENT_ELSEWHERE_S
    return silent_s > (_SILENT_ELSEWHERE_S if _is_alive(pid) else _SILENT_HERE_S)


def _builder(path: Path) -> tuple[str, int]:
    """Host and process in the folder's name: `.KEY.HOST.PID.RANDOM.tmp`."""
    _, _, rest = path.name.removeprefix(TEMPORARY_PREFIX).removesuffix(TEMPORARY_SUFFIX).partition(".")
    host, _, pid = rest.rpartition(".")[0].rpartition(".")
    return host, int(pid) if pid.isdigit() else 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid > 0
