"""What `sft stage` put into the shared cache: a manifest for each model, tokenizer and data set, and whether it still holds.

A job looks before it starts: a size that differs, a file that is gone, and, where a file was touched since, its hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.hashing import sha256_file
from sftlib.errors import CorruptError
from sftlib.paths import staged_manifests

_CLOCK_NS = 2 * 10**9  # clients of a shared file system round times, each in its way
MODEL, TOKENIZER, DATA = "model", "tokenizer", "data"


@dataclass(frozen=True)
class StagedFile:
    """One file as it was when it was staged."""

    name: str  # relative to the folder
    bytes: int
    sha256: str
    mtime_ns: int


@dataclass(frozen=True)
class Staged:
    """One thing that an experiment needs from elsewhere."""

    kind: str
    name: str
    revision: str | None  # as the experiment names it
    commit: str | None  # what that meant
    folder: str
    files: tuple[StagedFile, ...]


def manifest_path(kind: str, name: str, revision: str | None) -> Path:
    words = "--".join([kind, name.replace("/", "--"), *([revision] if revision else [])])
    return staged_manifests() / f"{re.sub(r'[^A-Za-z0-9._+-]', '_', words)}.json"


def record_staged(kind: str, name: str, revision: str | None, folder: Path, commit: str | None = None) -> Path:
    """Write the manifest of a folder; files that a manifest knows already, and that were not touched, are not read again."""
    path = manifest_path(kind, name, revision)
    before = {file.name: file for file in _known(path, folder)}
    files = tuple(_file(found, folder, before) for found in sorted(folder.rglob("*")) if found.is_file())
    write_json(path, asdict(Staged(kind, name, revision, commit, str(folder), files)))
    return path


def _known(path: Path, folder: Path) -> tuple[StagedFile, ...]:
    try:
        staged = read_staged_manifest(path)
    except (OSError, CorruptError):
        return ()
    return staged.files if staged.folder == str(folder) else ()


def _file(path: Path, folder: Path, before: dict[str, StagedFile]) -> StagedFile:
    name, stat = path.relative_to(folder).as_posix(), path.stat()
    known = before.get(name)
    if known and (known.bytes, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return known
    return StagedFile(name, stat.st_size, sha256_file(path), stat.st_mtime_ns)


def read_staged_manifest(path: Path) -> Staged:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Staged(**{**values, "files": tuple(StagedFile(**file) for file in values["files"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptError(f"{path} is not a manifest of `sft stage` ({error}): run sft stage again") from None


def staged_faults(path: Path, hash_of: Callable[[Path], str] = sha256_file) -> Iterator[str]:
    """What is not as this manifest says, each with file, expectation and remedy. `hash_of` may remember."""
    try:
        staged = read_staged_manifest(path)
    except (OSError, CorruptError) as error:
        yield f"{path} cannot be read ({error}): is the cache mounted here? else run sft stage again"
        return
    what = f"{staged.kind} {staged.name}"
    for file in staged.files:
        if fault := _fault(Path(staged.folder) / file.name, file, hash_of):
            yield f"{what}: {Path(staged.folder) / file.name} {fault}: run sft stage again, then start a new run"


def _fault(path: Path, file: StagedFile, hash_of: Callable[[Path], str]) -> str:
    try:
        stat = path.stat()
        if stat.st_size != file.bytes:
            return f"has {stat.st_size:,} bytes, staged were {file.bytes:,}"
        was_touched = abs(stat.st_mtime_ns - file.mtime_ns) > _CLOCK_NS
        if was_touched and (found := hash_of(path)) != file.sha256:
            return f"has sha256 {found[:12]}, staged was {file.sha256[:12]}"
    except OSError as error:
        return f"cannot be read ({error.strerror}); it was staged with {file.bytes:,} bytes"
    return ""
