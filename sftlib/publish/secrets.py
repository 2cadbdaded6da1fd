"""Hub name and token: from the environment, else from a `.env` file. A token is used, and never shown or stored."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sftlib.errors import InputError

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LINE = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^#\s]*))""")


def variables(folder: Path) -> dict[str, str]:
    """`.env` of the folder, overlaid by the environment."""
    found: dict[str, str] = {}
    path = folder / ".env"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := _LINE.match(line):
                found[match[1]] = next(value for value in match.groups()[1:] if value is not None)
    return {**found, **os.environ}


def hub_token(known: dict[str, str]) -> str:
    """The token; raises with the remedy where there is none. A file of `huggingface-cli login` counts too."""
    token = next((known[name] for name in _TOKENS if known.get(name)), None) or _stored()
    if not token:
        raise InputError(
            "no hub token: set HF_TOKEN in the environment or in a .env file here (a token with write access, "
            "from the hub's settings page); it goes into no file, log or receipt of sftlib"
        )
    return token


def _stored() -> str | None:
    path = Path(
        os.environ.get("HF_TOKEN_PATH") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "token"
    ).expanduser()
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def repository_name(given: str | None, known: dict[str, str], run_name: str, cell: str | None) -> str:
    """`USER/RUN-CELL`, unless it is given."""
    name = given or "-".join(filter(None, [run_name, cell]))
    if "/" not in name:
        user = known.get("HF_USERNAME")
        if not user:
            raise InputError(
                "no hub user: set HF_USERNAME in the environment or in a .env file here, or give --name USER/REPO"
            )
        name = f"{user}/{name}"
    user, _, repository = name.partition("/")
    clean = re.sub(r"-{2,}|\.{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", repository)).strip("-.")[:96]
    if not clean or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", user):
        raise InputError(f"--name {name!r}: expected USER/REPO of letters, digits, '-', '_' and '.'")
    return f"{user}/{clean}"
