"""The files behind a split's source: a file, a folder, a folder that `datasets` saved, or a data set of the Hub that
`sft stage` has put in the cache. Nothing is fetched here."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from sftlib.artifacts.records import files_of, is_saved_dataset, kind_of, saved_splits
from sftlib.config.data import Source
from sftlib.config.problems import did_you_mean
from sftlib.errors import DataError
from sftlib.paths import datasets_dir

STAGED_RECORD = "sftlib-staged.json"
# How the splits of a data set are called in file names, as the Hub reads them.
_SYNONYMS = {"train": ("train", "training"), "validation": ("validation", "valid", "dev", "val"), "test": ("test", "testing", "eval", "evaluation")}  # fmt: skip


def source_files(source: Source, name: str) -> list[Path]:
    """The record files of `data.NAME`, in order; raises DataError that says what is missing."""
    if source.hub:
        folder = staged_folder(source.hub, source.revision)
        listed = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        chosen = choose_files(listed, readme_of(folder), source, name)
        return [folder / file for file in chosen]
    if source.path is None:
        raise DataError(f"data.{name}: give the path of a file or folder")
    path = Path(source.path)
    splits = saved_splits(path) if path.is_dir() else []
    if splits:
        return files_of(path / _saved_split(path, splits, source, name))
    if source.split is None or path.is_file() or is_saved_dataset(path):
        return files_of(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and kind_of(file)]
    chosen = of_split([file.relative_to(path).as_posix() for file in files], source.split)
    if not chosen:
        names = ", ".join(file.name for file in files[:8])
        raise DataError(f"{path}: no file is of data.{name}.split = {source.split!r}; there are: {names or 'none'}")
    return [path / file for file in chosen]


def _saved_split(path: Path, splits: list[str], source: Source, name: str) -> str:
    wanted = source.split or name
    if wanted not in splits:
        raise DataError(
            f"{path} was saved without the split data.{name}.split = {wanted!r}{did_you_mean(wanted, splits)}"
        )
    return wanted


def of_split(names: Iterable[str], split: str) -> list[str]:
    """The files whose name or folder speaks of the split: `train-00000-of-00001.parquet`, `data/train/a.json`."""
    words = "|".join(map(re.escape, _SYNONYMS.get(split, (split,))))
    speaks = re.compile(rf"(?:^|[-._ /])(?:{words})(?:[-._ /0-9]|$)", re.IGNORECASE)
    return [name for name in names if speaks.search(name)]


def staged_folder(hub: str, revision: str | None) -> Path:
    """Where `sft stage` put the data set; raises DataError when it did not."""
    root = datasets_dir(hub)
    wanted = revision or "main"
    reference = root / "refs" / quote(wanted, safe="")
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted
    folder = root / commit
    if not (folder / STAGED_RECORD).is_file():
        at = f" at revision {revision}" if revision else ""
        raise DataError(
            f"the data set {hub!r}{at} is not in the cache ({root}): run sft stage EXPERIMENT where there is internet"
        )
    return folder


def readme_of(folder: Path) -> str:
    path = folder / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def choose_files(names: Iterable[str], readme: str, source: Source, name: str) -> list[str]:
    """The files of a Hub data set that hold the configuration and split that a source names."""
    files = sorted(file for file in names if kind_of(Path(file)) and not file.startswith("."))
    split = source.split or name
    declared = _declared(readme)
    if declared:
        return _of_declared(declared, files, source, split)
    if source.config:
        files = [file for file in files if file.startswith(f"{source.config}/") or f"/{source.config}/" in file]
    chosen = of_split(files, split)
    if not chosen and split == "train" and not any(of_split(files, other) for other in ("validation", "test")):
        chosen = files  # nothing speaks of splits: all of it is training data
    if not chosen:
        where = f" (configuration {source.config})" if source.config else ""
        raise DataError(
            f"the data set {source.hub!r}{where} has no file for the split {split!r}; there are: "
            f"{', '.join(files[:8]) or 'no record files'}: name another as data.{name}.split"
        )
    return chosen


def _declared(readme: str) -> dict[str, dict[str, list[str]]]:
    """Configuration -> split -> patterns, as a data set's card declares them."""
    match = re.match(r"\ufeff?---\s*\n(.*?)\n---", readme, re.DOTALL)
    try:
        card = yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError:
        return {}
    declared: dict[str, dict[str, list[str]]] = {}
    for entry in (card.get("configs") or []) if isinstance(card, dict) else []:
        if isinstance(entry, dict) and entry.get("data_files"):
            declared[str(entry.get("config_name", "default"))] = _patterns(entry["data_files"])
    return declared


def _patterns(data_files: Any) -> dict[str, list[str]]:
    if isinstance(data_files, dict):
        pairs = list(data_files.items())
    elif isinstance(data_files, list) and all(isinstance(item, dict) for item in data_files):
        pairs = [(item.get("split", "train"), item.get("path", [])) for item in data_files]
    else:
        pairs = [("train", data_files)]
    return {str(split): [str(p) for p in (paths if isinstance(paths, list) else [paths])] for split, paths in pairs}


def _of_declared(declared: dict[str, dict[str, list[str]]], files: list[str], source: Source, split: str) -> list[str]:
    config = source.config or ("default" if "default" in declared else next(iter(declared)))
    if source.config is None and "default" not in declared and len(declared) > 1:
        raise DataError(
            f"the data set {source.hub!r} has several configurations: name one as config: {', '.join(declared)}"
        )
    if config not in declared:
        raise DataError(f"the data set {source.hub!r} has no configuration {config!r}{did_you_mean(config, declared)}")
    splits = declared[config]
    if split not in splits:
        raise DataError(f"the data set {source.hub!r} has no split {split!r}{did_you_mean(split, splits)}")
    chosen = [file for file in files if any(fnmatch.fnmatchcase(file, pattern) for pattern in splits[split])]
    if not chosen:
        raise DataError(
            f"the data set {source.hub!r} declares {', '.join(splits[split])} for {split!r}, and has no such file"
        )
    return chosen


def read_staged(folder: Path) -> dict[str, Any]:
    """What `sft stage` noted of a folder: the data set, its commit, and the hash of each file."""
    return json.loads((folder / STAGED_RECORD).read_text(encoding="utf-8"))
