"""Which records of a source a split takes: parts split off train, samples, quick subsets.

The choice rests on what records say and on the seed, not on where they stand: a file in another order gives the same
parts, and records with the same text are never on both sides. Every process computes the same choice by itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sftlib.artifacts.records import Record
from sftlib.config.data import DataSection, Source
from sftlib.config.problems import did_you_mean
from sftlib.errors import DataError

VERSION = 1  # of the choice: with another one the same settings choose other records
PARTS = ("test", "validation")  # what is split off train, in this order


@dataclass
class Outline:
    """What the choice looks at, of all records of a source: little enough to keep for millions."""

    keys: list[bytes]  # of what a record says
    strata: dict[tuple[str, ...], list[tuple[str, ...]]]  # columns -> each record's values
    lengths: list[int]

    def __len__(self) -> int:
        return len(self.keys)


def needs_choice(data: DataSection, name: str) -> bool:
    """Whether a split is less than its source."""
    source: Source | None = getattr(data, name)
    if source is not None and source.subset is not None:
        return True
    if name == "train":
        return data.sample_size is not None or bool(_sizes(data))
    return name in _sizes(data)


def origin_of(data: DataSection, name: str) -> str:
    """The split whose source holds the records: `train` for a part that is split off it."""
    return "train" if name in _sizes(data) else name


def _sizes(data: DataSection) -> dict[str, int | float]:
    sizes = {name: getattr(data, f"{name}_size") for name in PARTS}
    return {name: size for name, size in sizes.items() if size is not None}


def outline(records: Iterable[Record], fmt: Callable[[], str], data: DataSection) -> Outline:
    """Read once over the records (the format is known when the first is there); raises DataError when a column of
    data.stratify is in none of them."""
    wanted = {tuple(data.stratify), _quick_columns(data)}
    result = Outline([], {columns: [] for columns in wanted}, [])
    seen: set[str] = set()
    for record in records:
        text = said(record, fmt(), data)
        result.keys.append(blake2b(" ".join(text.casefold().split()).encode(errors="replace"), digest_size=12).digest())
        result.lengths.append(len(text))
        for columns, values in result.strata.items():
            values.append(tuple(str(record.fields.get(column)) for column in columns))
        seen.update(record.fields)
    for column in data.stratify:
        if column not in seen:
            raise DataError(f"data.stratify: no record has the field {column!r}{did_you_mean(column, sorted(seen))}")
    return result


def said(record: Record, fmt: str, data: DataSection) -> str:
    """What a record asks, in one string: records that ask the same are never parted."""
    fields = record.fields
    if fmt in ("labelled", "text"):
        return str(fields.get(data.text_column))
    if fmt in ("alpaca", "columns"):
        return f"{fields.get(data.instruction_column)}\n{fields.get(data.input_column or '') or ''}"
    asked = {
        "prompt_completion": fields.get(data.prompt_column),
        "messages": _asked(fields.get(data.messages_column)),
        "sharegpt": _asked(fields.get(data.conversations_column)),
    }.get(fmt, fields)
    return asked if isinstance(asked, str) else json.dumps(asked, sort_keys=True, ensure_ascii=False, default=str)


def _asked(turns: object) -> object:
    return turns[:-1] if isinstance(turns, list) else turns


def chosen_rows(data: DataSection, name: str, all_of: Outline) -> tuple[list[int], int]:
    """The positions that the split takes, in the order of the source; and how many there were before samples and subsets."""
    rows: Sequence[int] = range(len(all_of))
    if selected := (_sizes(data) if origin_of(data, name) == "train" else {}):
        rows = _part(data, name, selected, all_of)
    available = len(rows)
    if name == "train" and data.sample_size is not None:
        rows = _take(rows, min(data.sample_size, len(rows)), all_of, tuple(data.stratify), data.seed, "sample")
    source: Source | None = getattr(data, name)
    return list(rows if source is None else _subset(rows, source, all_of, data, name)), available


def _part(data: DataSection, name: str, sizes: dict[str, int | float], all_of: Outline) -> Sequence[int]:
    """The test part is taken first: it stays the same whatever is split off for validation."""
    rows: Sequence[int] = range(len(all_of))
    for part, size in sizes.items():
        taken = _take(rows, _count(size, len(all_of), part), all_of, tuple(data.stratify), data.seed, part)
        if part == name:
            return taken
        rows = _without(rows, taken)
        if not rows:
            raise DataError(f"data.{part}_size = {size} leaves no record to train on: there are {len(all_of)}")
    return rows


def _count(size: int | float, available: int, part: str) -> int:
    count = round(size * available) if size < 1 else int(size)
    if not 0 < count < available:
        raise DataError(
            f"data.{part}_size = {size}: expected to take at least 1 and to leave some of {available} records"
        )
    return count


def _subset(rows: Sequence[int], source: Source, all_of: Outline, data: DataSection, name: str) -> Sequence[int]:
    if source.subset is None or source.subset >= len(rows):
        return rows
    if source.subset_by == "length":
        return _spread(rows, source.subset, all_of, data.seed)
    return _take(rows, source.subset, all_of, _quick_columns(data), data.seed, f"subset of {name}")


def _quick_columns(data: DataSection) -> tuple[str, ...]:
    """A quick subset looks like the whole: by group, label and source, and by what data.stratify adds."""
    sources = [data.source_column] if data.source_column else []
    return tuple(dict.fromkeys([*data.group_columns, data.label_column, *sources, *data.stratify]))


def _take(
    rows: Sequence[int], count: int, all_of: Outline, columns: tuple[str, ...], seed: int, purpose: str
) -> list[int]:
    """`count` of the rows, each stratum in its share; rows that say the same are taken together or not at all."""
    units: dict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        units[all_of.keys[row]].append(row)
    strata: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for key in sorted(units, key=lambda key: _order(seed, purpose, key)):
        strata[all_of.strata[columns][units[key][0]]].append(units[key])
    shares = _shares({stratum: sum(map(len, group)) for stratum, group in strata.items()}, count, seed, purpose)
    taken: list[int] = []
    left: list[list[int]] = []
    for stratum, group in strata.items():
        room = shares[stratum]
        for unit in group:
            if len(unit) <= room:
                taken += unit
                room -= len(unit)
            else:
                left.append(unit)
    for unit in left:  # where a stratum's last place was too small for those that stand several times
        if len(unit) <= count - len(taken):
            taken += unit
    return sorted(taken)


def _shares(sizes: dict[tuple[str, ...], int], count: int, seed: int, purpose: str) -> dict[tuple[str, ...], int]:
    """Largest remainder: whole numbers in proportion to the strata's sizes that sum up to `count`."""
    total = sum(sizes.values())
    exact = {stratum: count * size / total for stratum, size in sizes.items()}
    shares = {stratum: int(value) for stratum, value in exact.items()}
    by_remainder = sorted(
        exact, key=lambda s: (shares[s] - exact[s], _order(seed, purpose, "\x1f".join(s).encode(errors="replace")))
    )
    for stratum in by_remainder[: count - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _order(seed: int, purpose: str, key: bytes) -> bytes:
    return blake2b(f"{seed}:{purpose}:".encode() + key, digest_size=12).digest()


def _spread(rows: Sequence[int], count: int, all_of: Outline, seed: int) -> list[int]:
    """Evenly over the texts' lengths, from the shortest to the longest."""
    by_length = sorted(rows, key=lambda row: (all_of.lengths[row], _order(seed, "length", all_of.keys[row])))
    if count == 1:
        return [by_length[len(by_length) // 2]]
    return sorted(by_length[round(index * (len(by_length) - 1) / (count - 1))] for index in range(count))


def _without(rows: Iterable[int], taken: Iterable[int]) -> list[int]:
    gone = set(taken)
    return [row for row in rows if row not in gone]


def at_rows(records: Iterable[Record], rows: Sequence[int]) -> Iterator[Record]:
    """The records at these ascending positions."""
    following = iter(rows)
    wanted = next(following, None)
    for position, record in enumerate(records):
        if wanted is None:
            return
        if position == wanted:
            yield record
            wanted = next(following, None)
