"""The packages' source copied into the run directory, so that later edits do not change what queued elements run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import sftlib
from sftlib.artifacts.atomic import replacing_dir
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.paths import RunPaths

_PACKAGES = {"sftlib": Path(sftlib.__file__).parent, "jobs": Path(__file__).parent}
_DIGITS = 12


def freeze(paths: RunPaths) -> Path:
    """The folder with the frozen source; made once for each state of the source."""
    files = dict(_source_files())
    target = frozen_code(paths, files)
    if not target.exists():
        with replacing_dir(target) as temporary:
            for name, path in files.items():
                copy = temporary / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    return target


def frozen_code(paths: RunPaths, files: dict[str, Path] | None = None) -> Path:
    """Where the source as it is now would be frozen."""
    return paths.code(source_digest(dict(_source_files()) if files is None else files))


def source_digest(files: dict[str, Path]) -> str:
    """A hash of relative names and contents."""
    return sha256_value({name: sha256_file(path) for name, path in files.items()})[:_DIGITS]


def _source_files() -> Iterator[tuple[str, Path]]:
    for package, root in _PACKAGES.items():
        for path in sorted(root.rglob("*")):
            if path.is_file() and _is_source(path.relative_to(root)):
                yield f"{package}/{path.relative_to(root).as_posix()}", path


def _is_source(path: Path) -> bool:
    """Everything but caches, and the bundled posts: elements read data where the experiment's paths point."""
    if "__pycache__" in path.parts or any(part.startswith(".") for part in path.parts):
        return False
    return not (path.suffix == ".jsonl" and path.parts[:2] == ("data", "posts"))
