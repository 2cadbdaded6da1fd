"""Records in, token files out: read in parts, tokenised by processes, appended to disk, so that memory does not grow
with their number."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from sftlib.artifacts.host import cores
from sftlib.artifacts.tokencache import ArrayFile
from sftlib.config.inputs import Split
from sftlib.data.overlong import Overlong, cut_prompt
from sftlib.data.rendering import Renderer, TrainingRow
from sftlib.data.rows import Rows
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError, SftError
from sftlib.paths import TokenPaths

PART = 1000  # records that a worker gets at once: about a second's work, a few megabytes
_INLINE_PARTS = 2  # up to so many parts are done here: starting processes would take longer
_WATCH_S = 2.0


@dataclass(frozen=True)
class Block:
    """Rows of one part of the records."""

    records: int
    rows: Rows
    overlong: Overlong
    dropped: dict[str, int]


@dataclass
class Totals:
    """What has been written."""

    records: int = 0
    rows: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    longest: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    overlong: Overlong = field(default_factory=Overlong)


def render_block(renderer: Renderer, part: Split) -> Block:
    """One part's rows; what is too long is treated as train.overlong says."""
    config, overlong = renderer.config, Overlong()
    limit, policy = config.train.max_length, config.train.overlong
    samples = samples_of(part, config)
    kept: list[tuple[str, TrainingRow]] = []  # where the record stands, its row
    rows = zip(part.records, samples, _rendered(renderer, part, samples), strict=True)
    for record, sample, row in rows:
        if len(row.ids) > limit:
            overlong.add(sample, len(row.ids), config)
            if policy != "truncate_prompt":
                continue
            row = cut_prompt(renderer, sample, row, limit, record.place)
        kept.append((record.place, row))
    block = Rows.of([row for _, row in kept])
    _check_supervised(kept, block)
    return Block(len(part), block, overlong, part.dropped)


def _rendered(renderer: Renderer, part: Split, samples: list[Sample]) -> list[TrainingRow]:
    """All at once; where that fails, one by one, because the error must name the record."""
    try:
        return renderer.rows(samples)
    except DataError:
        for record, sample in zip(part.records, samples, strict=True):
            try:
                renderer.rows([sample])
            except DataError as error:
                raise DataError(f"{record.place}: {error}") from None
        raise


def _check_supervised(kept: list[tuple[str, TrainingRow]], rows: Rows) -> None:
    """A row without a supervised token would be read, computed and learnt nothing from."""
    counts = np.diff(np.concatenate(([0], np.cumsum(rows.supervised)))[rows.offsets])
    for index in np.flatnonzero(counts == 0):
        place, row = kept[index]
        raise DataError(f"{place}: none of its {len(row.ids)} tokens is supervised: nothing can be learnt")


def write_rows(
    folder: TokenPaths, renderer: Renderer, parts: Iterator[Split], where: str, tick: Callable[[int], None]
) -> tuple[Totals, dict[str, ArrayFile]]:
    """Tokenise all parts into the folder's arrays; raises DataError where the policy for long records is `error`."""
    config, totals = renderer.config, Totals()
    with _Arrays(folder) as arrays:
        for block in _blocks(renderer, parts):
            arrays.append(block.rows)
            _count(totals, block)
            tick(totals.records)
    long, limit = totals.overlong, config.train.max_length
    if long.count and config.train.overlong == "error":
        raise long.refusal(where, totals.records, limit)
    if long.count and config.train.overlong == "drop":
        totals.dropped[f"longer than {limit} tokens"] += long.count
    if not totals.rows:
        raise DataError(f"{where}: none of {totals.records} records is left to train on: {dict(totals.dropped)}")
    return totals, arrays.files()


def _count(totals: Totals, block: Block) -> None:
    totals.records += block.records
    totals.rows += len(block.rows)
    totals.tokens += block.rows.tokens
    totals.supervised_tokens += block.rows.supervised_tokens
    totals.longest = max(totals.longest, int(block.rows.lengths.max(initial=0)))
    totals.dropped.update(block.dropped)
    totals.overlong.merge(block.overlong)


class _Arrays:
    """The three arrays of an entry while they grow."""

    def __init__(self, folder: TokenPaths) -> None:
        self._streams = {path: path.open("wb") for path in folder.arrays}
        self._hashes = {path: hashlib.sha256() for path in folder.arrays}
        self._folder, self._end = folder, 0
        self._write(folder.offsets, np.zeros(1, np.int64))

    def __enter__(self) -> _Arrays:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def append(self, rows: Rows) -> None:
        self._write(self._folder.ids, rows.ids)
        self._write(self._folder.supervised, rows.supervised)
        self._write(self._folder.offsets, self._end + rows.offsets[1:])
        self._end += rows.tokens

    def _write(self, path: Any, values: npt.NDArray[Any]) -> None:
        data = values.tobytes()
        self._hashes[path].update(data)
        self._streams[path].write(data)

    def files(self) -> dict[str, ArrayFile]:
        return {path.name: ArrayFile(path.stat().st_size, sha.hexdigest()) for path, sha in self._hashes.items()}


def _blocks(renderer: Renderer, parts: Iterator[Split]) -> Iterator[Block]:
    """The blocks in the order of the parts; short data and single cores stay in this process."""
    first = list(islice(parts, _INLINE_PARTS + 1))
    workers = renderer.config.data.workers or cores()
    if len(first) <= _INLINE_PARTS or workers == 1:
        yield from (render_block(renderer, part) for part in chain(first, parts))
        return
    pool = ProcessPoolExecutor(workers, _context(), _start_worker, (renderer, os.getpid()))
    try:
        yield from _in_order(pool, chain(first, parts), in_flight=workers + 2)
    except BrokenProcessPool:
        raise SftError(
            f"a process that tokenised was killed (out of memory?): lower data.workers = {workers}, or give it more"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, parts: Iterator[Split], in_flight: int) -> Iterator[Block]:
    """Only so many parts are read ahead: a million records never wait in a queue."""
    waiting: deque[Future[Block]] = deque()
    for part in parts:
        waiting.append(pool.submit(_work, part))
        if len(waiting) > in_flight:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_RENDERER: Renderer | None = None  # of a worker process


def _start_worker(renderer: Renderer, builder: int) -> None:
    global _RENDERER
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    os.environ["OMP_NUM_THREADS"] = "1"
    _RENDERER = renderer
    gc.freeze()  # what the libraries hold is not looked through again and again: a quarter of the time
    threading.Thread(target=_end_with, args=(builder,), daemon=True).start()


def _end_with(builder: int) -> None:
    """A worker whose builder was killed would wait for parts for ever."""
    while os.getppid() == builder:
        time.sleep(_WATCH_S)
    os._exit(1)


def _work(part: Split) -> Block:
    assert _RENDERER is not None
    return render_block(_RENDERER, part)


def _context() -> Any:
    """Fork starts at once, but a process with other threads or a device must not be forked."""
    torch = sys.modules.get("torch")
    has_device = torch is not None and torch.cuda.is_initialized()
    is_alone = threading.active_count() == 1 and not has_device
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if can_fork and is_alone else "spawn")
