"""Content hashes: of files, of folders, and of values (through one canonical JSON)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_value(value: Any) -> str:
    """The hash of a JSON value, whatever the order of its keys."""
    return sha256_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def sha256_lines(lines: Iterable[str]) -> str:
    """The hash of a sequence of strings, each ended so that no two sequences collide by joining."""
    digest = hashlib.sha256()
    for line in lines:
        data = line.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
