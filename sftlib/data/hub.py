"""Data sets of the Hub into the cache, where there is internet: the files of the splits that an experiment names, pinned
to the commit that the revision meant, with their hashes. Jobs only read what lies there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sftlib.artifacts.atomic import replacing_dir, write_json, write_text
from sftlib.artifacts.hashing import sha256_file
from sftlib.artifacts.progress import say
from sftlib.artifacts.staged import DATA, record_staged
from sftlib.config.data import DataSection, Source
from sftlib.config.inputs import SPLITS
from sftlib.config.sources import STAGED_RECORD, choose_files, read_staged, readme_of
from sftlib.errors import SftError
from sftlib.paths import datasets_dir

README = "README.md"


def stage_datasets(data: DataSection) -> list[Path]:
    """Fetch every Hub data set that the section names; returns their folders."""
    wanted: dict[tuple[str, str | None], dict[str, Source]] = {}
    for name in SPLITS:
        source: Source | None = getattr(data, name)
        if source is not None and source.hub:
            wanted.setdefault((source.hub, source.revision), {})[name] = source
    return [_stage(hub, revision, sources) for (hub, revision), sources in wanted.items()]


def _stage(hub: str, revision: str | None, sources: dict[str, Source]) -> Path:
    """All files of the wanted splits, in one folder a commit that appears whole; what lay there is kept."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        info = api.dataset_info(hub, revision=revision)
        commit, listed = str(info.sha), [sibling.rfilename for sibling in info.siblings or []]
        folder = datasets_dir(hub) / commit
        with replacing_dir(folder) as target:
            _keep(folder, target)
            _fetch(api, hub, commit, [README] if README in listed else [], target)
            chosen = {
                file for name, one in sources.items() for file in choose_files(listed, readme_of(target), one, name)
            }
            _fetch(api, hub, commit, sorted(chosen), target)
            _record(target, hub, revision, commit)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        at = f" at revision {revision!r}" if revision else ""
        detail = f"{type(error).__name__}: {str(error)[:300]}"
        raise SftError(
            f"the data set {hub!r}{at} could not be fetched ({detail}): is its name right, and is there internet? "
            f"Private ones need HF_TOKEN"
        ) from None
    write_text(datasets_dir(hub) / "refs" / quote(revision or "main", safe=""), commit)
    record_staged(DATA, hub, revision, folder, commit)
    if revision is None:
        say(f"data set {hub}: pinned to commit {commit}; write it as revision to have it everywhere")
    return folder


def _keep(folder: Path, target: Path) -> None:
    if (folder / STAGED_RECORD).is_file():
        shutil.copytree(folder, target, dirs_exist_ok=True)


def _fetch(api: Any, hub: str, commit: str, files: list[str], target: Path) -> None:
    for file in files:
        if not (target / file).is_file():
            say(f"fetching {file} of {hub}")
            api.hf_hub_download(hub, file, repo_type="dataset", revision=commit, local_dir=target)
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the download's own notes


def _record(target: Path, hub: str, revision: str | None, commit: str) -> None:
    files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != STAGED_RECORD)
    before = read_staged(target).get("revisions", []) if (target / STAGED_RECORD).is_file() else []
    write_json(
        target / STAGED_RECORD,
        {
            "hub": hub,
            "commit": commit,
            "revisions": sorted({*before, revision or "main"}),
            "files": {path.relative_to(target).as_posix(): sha256_file(path) for path in files},
        },
    )
