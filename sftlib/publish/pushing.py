"""An adapter or a merged model, put on a hub: private unless asked otherwise, with its card, and without paths of this machine."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from sftlib.artifacts.progress import say
from sftlib.config.rundir import Run
from sftlib.errors import InputError, SftError
from sftlib.paths import ADAPTER_CARD, ADAPTER_CONFIG
from sftlib.publish.card import base_on_hub, model_card
from sftlib.publish.secrets import hub_token, repository_name, variables

_REFUSALS = {
    401: "the token was refused",
    403: "the token may not write there",
    404: "there is no such user or repository",
}


def push(
    run: Run | None, cell: str | None, target: Path, *, merged: bool, name: str | None, is_public: bool,
    licence: str | None, dry_run: bool,
) -> dict[str, Any]:  # fmt: skip
    """Upload in one commit; returns the address, the files and the card."""
    known = variables(Path.cwd())
    repository = repository_name(name, known, run.config.name if run else target.resolve().name, cell)
    token = None if dry_run else hub_token(known)
    source = _source(run, cell, target, merged)
    with tempfile.TemporaryDirectory(prefix="sft-push-") as folder:
        card = _prepare(run, cell, source, Path(folder), merged, licence)
        files = sorted(path.name for path in Path(folder).iterdir())
        told = {"repository": repository, "private": not is_public, "files": files, "card": card}
        if dry_run:
            return told
        return {**told, "url": _upload(Path(folder), repository, str(token), is_public, known, run, cell)}


def _source(run: Run | None, cell: str | None, target: Path, merged: bool) -> Path:
    if run is None or cell is None:
        if not any(target.glob("*.safetensors")):
            raise InputError(f"{target} is neither a run directory nor a folder with an adapter or a model")
        return target
    if run.cell(cell).is_baseline:
        raise InputError(f"{cell} is the untouched base model: there is nothing to publish")
    if reason := run.why_untrained(cell, deep=True):
        raise InputError(f"{cell}: {reason}: sft train {run.paths.typed} --cell {cell}")
    if not merged:
        return run.paths.cell(cell).adapter
    if reason := run.why_unmerged(cell):
        raise InputError(f"{cell}: {reason}: sft adapter merge {run.paths.typed} --cell {cell}")
    return run.paths.cell(cell).merged


def _prepare(run: Run | None, cell: str | None, source: Path, folder: Path, merged: bool, licence: str | None) -> str:
    """Links to the files, with a new card, and without the path at which the base lay here."""
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            (folder / path.name).symlink_to(path.resolve())
    if run is not None and cell is not None:
        _replace(folder / ADAPTER_CARD, model_card(run, cell, merged=merged, licence=licence))
    if (folder / ADAPTER_CONFIG).exists():
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        base = (
            run.cell_config(cell).model.name_or_path if run and cell else settings.get("base_model_name_or_path") or ""
        )
        settings["base_model_name_or_path"] = base_on_hub(base) or (
            base if base and not Path(base).is_absolute() else "local"
        )
        _replace(folder / ADAPTER_CONFIG, json.dumps(settings, indent=2) + "\n")
    config = folder / "config.json"
    if config.exists() and "_name_or_path" in (values := json.loads(config.read_text(encoding="utf-8"))):
        _replace(
            config, json.dumps({key: value for key, value in values.items() if key != "_name_or_path"}, indent=2) + "\n"
        )
    card = folder / ADAPTER_CARD
    return card.read_text(encoding="utf-8") if card.exists() else ""


def _replace(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def _upload(
    folder: Path, repository: str, token: str, is_public: bool, known: dict[str, str], run: Run | None, cell: str | None
) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise InputError("HF_HUB_OFFLINE=1: nothing can be sent; unset it where there is internet")
    api = HfApi(endpoint=known.get("HF_ENDPOINT"), token=token)
    message = f"{run.config.name}, {cell}" if run else "Adapter"
    try:
        api.create_repo(repository, private=not is_public, exist_ok=True)
        _check_visibility(api, repository, is_public)
        say(f"sending {folder_size(folder) / 1e6:,.1f} MB to {repository} ({'public' if is_public else 'private'})")
        api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message=f"{message} (sftlib)")
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        why = _REFUSALS.get(status or 0) or f"the hub answered {status}"
        raise SftError(f"{repository}: {why}: check HF_TOKEN (write access) and --name") from None
    except OfflineModeIsEnabled:
        raise InputError("HF_HUB_OFFLINE is set: nothing can be sent; unset it where there is internet") from None
    except (OSError, RuntimeError) as error:
        text = str(error).replace(token, "***").partition("\n")[0][:200]
        raise SftError(f"{repository}: the hub cannot be reached ({type(error).__name__}: {text})") from None
    return f"{api.endpoint}/{repository}"


def _check_visibility(api: Any, repository: str, is_public: bool) -> None:
    """A repository that was there before keeps its own visibility: nothing private goes into a public one unasked."""
    if not is_public and api.repo_info(repository).private is False:
        raise InputError(f"{repository} is there already and is public: choose another --name, or say --public")


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
