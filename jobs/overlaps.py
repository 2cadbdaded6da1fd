"""Elements found by what they share: a rerun cuts ranges of shards anew, and one that has a shard in common speaks for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from jobs.plan import PREDICT, shards_in

_Item = TypeVar("_Item")


class Overlaps(Generic[_Item]):
    """Things by the name of their element, in the order given; thousands are looked up without comparing each with each."""

    def __init__(self, named: Iterable[tuple[str, _Item]]) -> None:
        self._items: list[_Item] = []
        self._places: dict[str, list[int]] = {}
        for name, item in named:
            for part in _parts(name):
                self._places.setdefault(part, []).append(len(self._items))
            self._items.append(item)

    def of(self, name: str) -> list[_Item]:
        places = {place for part in _parts(name) for place in self._places.get(part, ())}
        return [self._items[place] for place in sorted(places)]


def _parts(name: str) -> list[str]:
    """`predict/CELL/4-5` is its shards; any other element is itself."""
    shards = shards_in(name) if name.startswith(f"{PREDICT}/") else range(0)
    return [f"{name.rpartition('/')[0]}/{shard}" for shard in shards] or [name]
