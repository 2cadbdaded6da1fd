"""A split as rows of token ids and labels: out of the token cache where it holds them, else built and put there."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import sftlib
from sftlib.artifacts.hashing import sha256_file, sha256_lines, sha256_value
from sftlib.artifacts.progress import say
from sftlib.artifacts.ranks import local_rank
from sftlib.artifacts.tokencache import Entry, building, find_entry, write_header
from sftlib.config.inputs import Split, split_digest, stream_split
from sftlib.config.tree import SFTConfig
from sftlib.data.preparation import PART, write_rows
from sftlib.data.rendering import Renderer, tokenizer_digest
from sftlib.data.rows import Rows
from sftlib.errors import DataError, SftError
from sftlib.paths import TokenPaths

# Whatever these hold may shape a token: an entry that older code made is never read.
_CODE = ("data/*.py", "config/*.py", "artifacts/records.py", "artifacts/columns.py")
_LIBRARIES = ("tokenizers", "transformers", "jinja2")
_POLL_S, _SAY_S = 0.2, 60.0

Tick = Callable[[int], None]


def _silent(_: int) -> None: ...


class SFTDatasetProcessor:
    """Turns the splits of one experiment into rows, with one tokenizer and one template."""

    def __init__(self, config: SFTConfig, tokenizer: Any) -> None:
        self.config = config
        self.renderer = Renderer(config, tokenizer)

    def rows(self, split: Split | str, tick: Tick = _silent) -> Rows:
        """The rows of a split, by its name or as it was read; long records are treated as train.overlong says."""
        name = split if isinstance(split, str) else split.name
        parts = self._parts(name, split)
        if not self.config.data.cache:
            return self._uncached(name, parts, tick)
        key_parts = self.key_parts(split)
        key = _key(key_parts)
        if (found := find_entry(key)) is None:
            found = self._built(key, key_parts, name, parts, tick)
        folder, entry = found
        return Rows.mapped(folder, entry.dropped)

    def key(self, split: Split | str) -> str:
        """The name of the split's entry in the token cache."""
        return _key(self.key_parts(split))

    def key_parts(self, split: Split | str) -> dict[str, Any]:
        """All that a row depends on. No record is read for it when the split is given by name."""
        config, template = self.config, self.renderer.template
        digest = split_digest(config, split) if isinstance(split, str) else _records_digest(split)
        return {
            "split": split if isinstance(split, str) else split.name,
            "data": digest,
            "data_settings": sha256_value(_data_settings(config)),
            "formatting_func": _source_digest(config.data.formatting_func),
            "template": sha256_value([template.source, template.date, template.arguments]),
            "prompt": sha256_value([config.prompt.system, config.prompt.user]),
            "task": sha256_value(config.task.model_dump(mode="json")),
            "tokenizer": tokenizer_digest(self.renderer.tokenizer),
            "train": {name: getattr(config.train, name) for name in ("loss_on", "max_length", "overlong")},
            "code": code_digest(),
            "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        }

    def _parts(self, name: str, split: Split | str) -> Iterator[Split]:
        if isinstance(split, str):
            yield from stream_split(self.config, name, PART)
            return
        records, dropped = iter(split.records), split.dropped
        while part := list(islice(records, PART)):
            yield replace(split, records=part, dropped=dropped)
            dropped = {}

    def _built(
        self, key: str, key_parts: dict[str, Any], name: str, parts: Iterator[Split], tick: Tick
    ) -> tuple[TokenPaths, Entry]:
        """Build the entry, or wait where another process of this node does."""
        if local_rank() != 0:  # rank 0 has gone first; on a node with a cache of its own, its first process builds
            return _wait_for(key)
        started = time.time()
        with building(key) as folder:
            self._write(folder, key, key_parts, name, parts, tick)
        found = find_entry(key)
        if found is None:
            raise SftError(f"the token cache lost entry {key} while it was read: run it again")
        entry = found[1]
        say(f"{name}: {entry.records} records tokenised in {time.time() - started:.1f} s -> {found[0].root}")
        return found

    def _write(
        self, folder: TokenPaths, key: str, key_parts: dict[str, Any], name: str, parts: Iterator[Split], tick: Tick
    ) -> Entry:
        started, config = time.time(), self.config
        where = _where(config, name)
        totals, files = write_rows(folder, self.renderer, parts, where, tick)
        entry = Entry(
            key=key, split=name, source=where, tokenizer=config.model.tokenizer or config.model.name_or_path,
            template=self.renderer.template.name, parts=key_parts, records=totals.records, rows=totals.rows,
            tokens=totals.tokens, supervised_tokens=totals.supervised_tokens, longest=totals.longest, files=files,
            dropped=dict(totals.dropped), created=time.time(), seconds=round(time.time() - started, 2),
            sftlib=sftlib.__version__,
        )  # fmt: skip
        write_header(folder, entry)
        return entry

    def _uncached(self, name: str, parts: Iterator[Split], tick: Tick) -> Rows:
        """Into a temporary folder that goes when the rows do."""
        folder = TokenPaths(Path(tempfile.mkdtemp(prefix="sft-rows-")))
        try:
            entry = self._write(folder, "", {}, name, parts, tick)
        except BaseException:
            shutil.rmtree(folder.root, ignore_errors=True)
            raise
        rows = Rows.mapped(folder, entry.dropped)
        weakref.finalize(rows, shutil.rmtree, folder.root, ignore_errors=True)
        return rows


def _key(parts: dict[str, Any]) -> str:
    return sha256_value(parts)[:32]


def _wait_for(key: str) -> tuple[TokenPaths, Entry]:
    """Another process of this node builds: no collective waits, so none runs into its timeout."""
    started = said = time.monotonic()
    while (found := find_entry(key)) is None:
        time.sleep(_POLL_S)
        if time.monotonic() - said > _SAY_S:
            said = time.monotonic()
            say(f"waiting for the token cache ({said - started:.0f} s): local rank 0 builds entry {key}")
    return found


def _data_settings(config: SFTConfig) -> dict[str, Any]:
    """The section without what names a place or a way of working: content is hashed, not paths."""
    settings = config.data.model_dump(mode="json", exclude={"workers", "cache", "streaming", "formatting_func"})
    for source in (settings[name] for name in ("train", "validation", "test")):
        if source:
            source.pop("path")
    return settings


def _records_digest(split: Split) -> str:
    """Of the records themselves: whoever made this split may have left some of its file's out."""
    return sha256_lines(json.dumps(record.fields, sort_keys=True, default=str) for record in split.records)


def _where(config: SFTConfig, name: str) -> str:
    source = getattr(config.data, name) or config.data.train
    return str(source.path or source.hub) if source else f"data.{name}"


def _source_digest(function: str | None) -> str | None:
    """The hash of the file that `module:function` or `/path/file.py:function` stands in."""
    if function is None:
        return None
    where, _, name = function.rpartition(":")
    spec = None if where.endswith(".py") else find_spec(where)
    path = Path(spec.origin) if spec and spec.origin else Path(where)
    if not path.is_file():
        raise DataError(f"data.formatting_func = {function!r}: {where} is not there")
    return sha256_lines([sha256_file(path), name])


def code_digest() -> str:
    """The hash of the code that turns records into rows."""
    root = Path(sftlib.__file__).parent
    files = sorted(path for pattern in _CODE for path in root.glob(pattern))
    return sha256_value([[str(path.relative_to(root)), sha256_file(path)] for path in files])
