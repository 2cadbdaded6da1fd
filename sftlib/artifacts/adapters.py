"""The adapter folder's own record: what it was trained as, and the hash by which damage is seen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.errors import CorruptError
from sftlib.paths import ADAPTER_RECORD, MERGED_RECORD

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class AdapterRecord:
    """What an adapter was trained as; prediction refuses to use it as anything else."""

    cell: str
    base: str  # identity of the base model
    prompt_sha256: str  # fingerprint of the renderer
    tokenizer_sha256: str
    weights_sha256: str
    dtype: str
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        write_json(folder / ADAPTER_RECORD, asdict(self))


def read_adapter_record(folder: Path) -> AdapterRecord | None:
    """The record of an adapter folder; None where there is none (an adapter from elsewhere)."""
    path = folder / ADAPTER_RECORD
    if not path.exists():
        return None
    try:
        return AdapterRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CorruptError(f"{path} is not a readable adapter record: {error}") from None


@dataclass(frozen=True)
class MergedRecord:
    """What a merged model was made of."""

    cell: str
    adapter_sha256: str
    base: str
    weights_sha256: str
    changed: int  # weights of the base that the adapter changed; 0: folded in memory
    records: int  # that were answered by both
    agreement: float | None  # share of equal answers; None: not looked at
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        write_json(folder / MERGED_RECORD, asdict(self))


def read_merged_record(folder: Path) -> MergedRecord | None:
    """None where there is no merged model, or none that is whole."""
    try:
        return MergedRecord(**json.loads((folder / MERGED_RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def weights_digest(folder: Path) -> str:
    """The hash of all weights in an adapter or model folder."""
    return sha256_value([[path.name, sha256_file(path)] for path in sorted(folder.glob("*.safetensors"))])
