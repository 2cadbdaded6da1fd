"""What a split holds, as far as a plan must know it: how many records, which fields, labels, groups and ids.

Reads with the standard library (Parquet, Arrow: pyarrow) and runs on a login node, so that a missing, empty or wrong file
is found before anything is submitted. The same functions give the data stage its records, so both see the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, overload

from sftlib.artifacts.hashing import sha256_file, sha256_lines, sha256_value
from sftlib.artifacts.records import Record
from sftlib.config import selection
from sftlib.config.columns import named_records, shown_names
from sftlib.config.data import DataSection, Source
from sftlib.config.formats import check_record, detect_format
from sftlib.config.placeholders import is_required, names_in
from sftlib.config.problems import did_you_mean
from sftlib.config.sources import source_files
from sftlib.config.tree import SFTConfig
from sftlib.config.values import matches, value_text
from sftlib.errors import DataError

SPLITS = ("train", "validation", "test")
_ID_FIELDS = ("sample_id", "original_id", "id")
_MOST_FAULTS = 5  # shown; all are counted


@dataclass(frozen=True)
class Split:
    """The records of one split, as they stand in the files."""

    name: str
    source: Source  # of the records; for a part of train, train's
    format: str
    records: Sequence[Record]
    dropped: dict[str, int] = field(default_factory=dict)  # why -> how many
    sha256: str = ""
    available: int = 0  # records before samples and subsets
    faults: tuple[str, ...] = ()  # the first records that were left out as faulty, each with its place

    def __len__(self) -> int:
        return len(self.records)

    def count(self, column: str) -> Counter[str]:
        return Counter(value_text(record.fields.get(column)) for record in self.records)


def named_splits(config: SFTConfig) -> list[str]:
    """The splits that an experiment has: by files of their own, or split off train."""
    data = config.data
    return [name for name in SPLITS if getattr(data, name) or (name != "train" and getattr(data, f"{name}_size"))]


def read_split(config: SFTConfig, name: str) -> Split:
    """Read one split of the experiment and check that each record is what the format says."""
    if config.data.streaming and name != "test":
        return _streamed_split(config, name)
    reading = _Reading(config, name)
    records = list(reading)
    reading.finish(stop_at_fault=config.data.faulty == "error")
    available = len(records)
    if selection.needs_choice(config.data, name):
        seen = selection.outline(records, lambda: reading.format, config.data)
        rows, available = selection.chosen_rows(config.data, name, seen)
        records = [records[row] for row in rows]
    return _whole(config, name, reading, records, available)


def _streamed_split(config: SFTConfig, name: str) -> Split:
    """All records are read and checked, and none is kept."""
    reading, count = _Reading(config, name), 0
    if selection.needs_choice(config.data, name):
        seen = selection.outline(reading, lambda: reading.format, config.data)
        reading.finish(stop_at_fault=config.data.faulty == "error")
        rows, available = selection.chosen_rows(config.data, name, seen)
        count = len(rows)
    else:
        count = available = sum(1 for _ in reading)
        reading.finish(stop_at_fault=config.data.faulty == "error")
    return _whole(config, name, reading, StreamedRecords(config, name, count), available)


def _whole(config: SFTConfig, name: str, reading: _Reading, records: Sequence[Record], available: int) -> Split:
    return Split(
        name, reading.source, reading.format, records, reading.dropped(), split_digest(config, name), available,
        tuple(map(str, reading.faults[:_MOST_FAULTS])),
    )  # fmt: skip


def stream_split(config: SFTConfig, name: str, size: int = 1000) -> Iterator[Split]:
    """The same split in parts of at most `size` records, each read and checked when it is asked for; no digest. Where the
    split is less than its source, the source is read twice: once to choose, and only keys are kept."""
    rows: list[int] | None = None
    if selection.needs_choice(config.data, name):
        first = _Reading(config, name)
        seen = selection.outline(first, lambda: first.format, config.data)
        first.finish(stop_at_fault=config.data.faulty == "error")
        rows, _ = selection.chosen_rows(config.data, name, seen)
    reading = _Reading(config, name)
    records = iter(reading) if rows is None else selection.at_rows(iter(reading), rows)
    while part := list(islice(records, size)):
        reading.stop_at_fault(config.data.faulty == "error")
        yield Split(name, reading.source, reading.format, part, reading.take_dropped())
    reading.finish(stop_at_fault=config.data.faulty == "error")
    if left := reading.take_dropped():
        yield Split(name, reading.source, reading.format, [], left)


class StreamedRecords(Sequence[Record]):
    """The records of a split that are read anew whenever somebody goes through them; only their number is held."""

    def __init__(self, config: SFTConfig, name: str, count: int) -> None:
        self._config, self._name, self._count = config, name, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        for part in stream_split(self._config, self._name):
            yield from part.records

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            return list(islice(self, start, stop, step)) if step > 0 else list(self)[index]
        return next(islice(self, range(self._count)[index], None))


class _Reading:
    """The records of a source that pass its filter and its format, and a count of those that do not."""

    def __init__(self, config: SFTConfig, name: str) -> None:
        self.config, self.name = config, name
        self.source, self.files = _source(config.data, name)
        self.format: str = "formatting_func" if config.data.formatting_func else config.data.format
        self.faults: list[DataError] = []
        self.good = self.filtered = self.fault_count = 0
        self._first: Record | None = None
        # Groups are compared on the test records; train may well come without them.
        self._unseen = set(config.data.group_columns) if name == "test" else set[str]()
        self._told = Counter[str]()

    @property
    def place(self) -> str:
        return str(self.source.path or f"data set {self.source.hub}")

    def __iter__(self) -> Iterator[Record]:
        where = self.source.where
        for record in named_records(self.files, self._note, self.config):
            if where and not matches(record.fields, where):
                self.filtered += 1
            elif self._is_good(record):
                self.good += 1
                yield record

    def _is_good(self, record: Record) -> bool:
        try:
            if self._first is None:
                if self.format == "auto":
                    self.format = _detected(record, self.config)
                self._check_asks(record)
                self._first = record
            check_record(record, self.format, self.config)
        except DataError as fault:
            self._note(fault)
            return False
        self._unseen -= {column for column in self._unseen if column in record.fields}
        return True

    def _check_asks(self, record: Record) -> None:
        if self.format == "text" and self.name == "test":
            raise DataError(
                f"{record.place}: data.test: records of format text ask nothing: give test records in another format"
            )

    def _note(self, fault: DataError) -> None:
        self.fault_count += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)

    def dropped(self) -> dict[str, int]:
        told = {f"where {self.source.where}": self.filtered} if self.source.where else {}
        return {**told, "data.faulty": self.fault_count} if self.fault_count else told

    def take_dropped(self) -> dict[str, int]:
        """What was dropped since this was asked last."""
        now = Counter(self.dropped())
        new, self._told = now - self._told, now
        return dict(new)

    def stop_at_fault(self, stop: bool) -> None:
        if stop and self.faults:
            raise DataError(self._faults_text())

    def _faults_text(self) -> str:
        remedy = "set data.faulty: drop to leave what is faulty out, counted"
        total = self.fault_count + self.good + self.filtered
        if self.fault_count == 1:
            return f"{self.faults[0]} (1 of {total} records is faulty): mend it, or {remedy}"
        lines = [f"  {line}" for line in _once_each(self.faults)]
        lines += [f"  and {self.fault_count - len(lines)} more"] if self.fault_count > len(lines) else []
        return "\n".join(
            [f"{self.place}: {self.fault_count} of {total} records are faulty:", *lines, f"  mend them, or {remedy}"]
        )

    def finish(self, *, stop_at_fault: bool) -> None:
        """When all is read: raise when a fault stops, when nothing is left, when a group column was in no record."""
        self.stop_at_fault(stop_at_fault)
        if self.good == 0 and self.faults:
            raise DataError(self._faults_text())
        if self.good == 0:
            raise DataError(
                f"{self.place}: data.{self.name}.where {self.source.where} keeps none of {self.filtered} records: "
                f"change or drop the filter"
            )
        assert self._first is not None
        _check_prompt(self._first, self.format, self.config)
        for column in sorted(self._unseen):
            hint = did_you_mean(column, map(str, self._first.fields))
            raise DataError(f"{self.place}: data.group_columns: no record has the field {column!r}{hint}")


def _check_prompt(record: Record, fmt: str, config: SFTConfig) -> None:
    """A prompt that shows nothing of its record would ask the same of all, and train on noise."""
    user = config.prompt.user
    if fmt != "labelled" or user is None or shown_names(config, map(str, record.fields)):
        return
    if any(map(is_required, names_in(user))):
        return  # a name that no record has: whoever fills the prompt in says which there are
    have = ", ".join(map(str, record.fields))
    raise DataError(
        f"prompt.user = {user[:80]!r} shows nothing of a record: put {{text}} or another field in braces into it; there "
        f"are: {have}"
    )


def _once_each(faults: Sequence[DataError]) -> list[str]:
    """A long reason is said with the first record that has it."""
    told: set[str] = set()
    lines = []
    for fault in faults:
        place, _, reason = str(fault).partition(": ")
        lines.append(f"{place}: the same" if reason in told else str(fault))
        told.add(reason)
    return lines


def training_splits(config: SFTConfig) -> list[str]:
    """The splits that a training reads."""
    return [name for name in named_splits(config) if name != "test"]


def format_of(config: SFTConfig, name: str) -> str | None:
    """The named format, or that of the split's first good record; None where there is neither."""
    if config.data.format != "auto":
        return config.data.format
    if getattr(config.data, selection.origin_of(config.data, name)) is None:
        return None
    reading = _Reading(config, name)
    next(iter(reading), None)
    return reading.format if reading.good else None


def split_digest(config: SFTConfig, name: str) -> str:
    """`Split.sha256` from the bytes of the files and the settings that choose among their records: no record is parsed,
    so that a cache can be asked first."""
    source, files = _source(config.data, name)
    hashes = [sha256_file(file) for file in files]
    choice = _choice(config.data, name, source)
    return sha256_lines([*hashes, sha256_value(choice)] if choice else hashes)


def _source(data: DataSection, name: str) -> tuple[Source, list[Path]]:
    """Where a split's records come from: its own source, or that of the split that it is a part of."""
    origin = selection.origin_of(data, name)
    source: Source | None = getattr(data, origin)
    if source is None:
        raise DataError(f"data.{origin}: give the path of a file or folder")
    return source, source_files(source, origin)


def _choice(data: DataSection, name: str, source: Source) -> dict[str, Any]:
    """Everything but the files that decides which records the split has; nothing where it has all of them.

    A sample of train is left out: cells may differ in it, and none is predicted on it.
    """
    choice: dict[str, Any] = {"where": source.where} if source.where else {}
    if data.faulty != "error":
        choice["faulty"] = data.faulty
    if data.formatting_func:
        choice["formatting_func"] = _function_digest(data.formatting_func)
    own: Source | None = getattr(data, name)
    sizes = {part: getattr(data, f"{part}_size") for part in selection.PARTS if getattr(data, f"{part}_size")}
    if (own is not None and own.subset) or (sizes and selection.origin_of(data, name) == "train"):
        columns = [data.format, data.text_column, data.label_column, data.group_columns, data.source_column,
                   data.instruction_column, data.input_column, data.prompt_column, data.messages_column,
                   data.conversations_column]  # fmt: skip
        subset = [own.subset, own.subset_by] if own is not None else None
        choice["selection"] = [selection.VERSION, data.seed, data.stratify, sizes, subset, columns]
    return choice


def _function_digest(function: str) -> str:
    """Of the file that holds it; of its name where it is in an installed package, whose version the receipt has."""
    file = Path(function.rpartition(":")[0])
    return sha256_file(file) if file.is_file() else function


def _detected(record: Record, config: SFTConfig) -> str:
    try:
        fmt = detect_format(record.fields, config.data)
    except DataError as error:
        raise DataError(f"{record.place}: {error}") from None
    # A first record without its label must not make plain text of a classification.
    return "labelled" if fmt == "text" and config.task.type == "classification" else fmt


def sample_ids(records: Sequence[Record], id_column: str | None) -> list[str]:
    """A unique id for each record: of the named field, of a usual one when it is unique, else the position."""
    column = id_column or next((name for name in _ID_FIELDS if all(name in r.fields for r in records)), None)
    if column is None:
        return [f"row-{index:08d}" for index in range(len(records))]
    ids = [value_text(record.fields[column]) for record in records]
    twice = next((name for name, count in Counter(ids).items() if count > 1), None)
    if twice is None:
        return ids
    if id_column is None:
        return [f"row-{index:08d}" for index in range(len(records))]
    places = ", ".join([record.place for record, name in zip(records, ids, strict=True) if name == twice][:3])
    raise DataError(f"sample id {twice!r} stands at {places}: ids must be unique; choose another data.id_column")
