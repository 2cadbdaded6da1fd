"""Rows that a filter drops, and a `split` field that would drop them: with counts, where others drop in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sftlib.artifacts.records import Record
from sftlib.config.columns import named_records
from sftlib.config.sources import source_files
from sftlib.config.tree import SFTConfig
from sftlib.config.values import matches, value_text
from sftlib.data.audit.entries import Part
from sftlib.data.audit.findings import MOST_PLACES, OTHER, WARNING, Finding, listed, percent, shares

_FIELDS = ("split", "partition", "fold_name", "data_split")
_NAMES = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_KNOWN = 0.9  # share of values that must be names of splits, for the field to be one that names splits


def filter_findings(parts: dict[str, Part], config: SFTConfig) -> Iterator[Finding]:
    for part in parts.values():
        yield from _dropped(part, parts, config)
        yield from _contradicted(part)


def _dropped(part: Part, parts: dict[str, Part], config: SFTConfig) -> Iterator[Finding]:
    """Records of the file that `where` drops and no other split of the same file takes. Any one counts."""
    source = getattr(config.data, part.name)
    if not part.where or source is None:
        return
    filters = [other.where for other in parts.values() if other.path == part.path]
    records = list(
        named_records(source_files(source, part.name), lambda fault: None, config)
    )  # faults are told elsewhere
    lost = [record for record in records if not any(matches(record.fields, where) for where in filters)]
    if not lost:
        return
    label = config.data.label_column
    by_label = shares(_count(lost, label), _count(records, label))
    by_group = {
        f"{column}={name}": share
        for column in config.data.group_columns
        for name, share in shares(_count(lost, column), _count(records, column)).items()
    }
    condition = " and ".join(f"{key} = {value!r}" for key, value in part.where.items())
    sentence = (
        f"the filter {condition} drops {len(lost):,} of {len(records):,} records "
        f"({percent(len(lost), len(records))}) that no other split takes"
    )
    places = [record.place for record in lost[:MOST_PLACES]]
    yield Finding(
        "dropped_by_filter", WARNING, part.name, len(lost), len(records), sentence, by_label, by_group, places
    )


def _contradicted(part: Part) -> Iterator[Finding]:
    """A field that names splits, and names another one: whoever filters by it loses these records. Any one counts."""
    for field in _FIELDS:
        if field in part.where:
            continue
        values = [entry.fields.get(field) for entry in part.entries]
        named = [_NAMES.get(value.strip().casefold()) if isinstance(value, str) else None for value in values]
        if sum(name is not None for name in named) < _KNOWN * len(values) or not values:
            continue
        found = [
            entry
            for entry, name in zip(part.entries, named, strict=True)
            if name not in (part.origin or part.name, None)
        ]
        if not found:
            continue
        counts = Counter(str(entry.fields[field]) for entry in found)
        sentence = (
            f"field {field!r} says something else for {len(found):,} of {len(part):,} records "
            f"({listed({name: f'{count:,}' for name, count in counts.most_common()})}): "
            f"a filter by it would drop {percent(len(found), len(part))} of this split"
        )
        yield Finding(
            "split_field", WARNING, part.name, len(found), len(part), sentence,
            shares(Counter(entry.label or OTHER for entry in found), part.classes),
            shares(Counter(name for entry in found for name in entry.group_names), part.groups),
            [entry.place for entry in found[:MOST_PLACES]],
        )  # fmt: skip


def _count(records: list[Record], column: str) -> Counter[str]:
    return Counter(value_text(record.fields.get(column, OTHER)) for record in records)
