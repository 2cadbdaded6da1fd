"""Work done ahead of its use: calls come in, their results go out in the same order, a few of them in the making."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sftlib.artifacts.host import cores

T = TypeVar("T")
MOST_WORKERS = 4  # each holds a shard in memory; hashing and decoding leave Python's lock to the others


def open_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_workers())


def num_workers() -> int:
    return min(MOST_WORKERS, cores())


def ahead(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results in order; never more of them waiting than there are workers."""
    waiting: deque[Future[T]] = deque()
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > num_workers():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
