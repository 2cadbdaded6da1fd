"""What stands in a field, as text: the same word for a label, a group or a source, whatever type the file gave it."""

from __future__ import annotations

from typing import Any


def value_text(value: Any) -> str:
    """JSON's and YAML's spelling: true and false; 1 for 1.0, which spreadsheets make of whole numbers beside a gap."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def is_missing(value: Any) -> bool:
    """Nothing, an empty cell, or the NaN that tables hold in place of nothing."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def matches(fields: dict[str, Any], where: dict[str, Any]) -> bool:
    """Whether a record's fields have these values; a CSV file holds texts only, and `2020` there is 2020."""
    return all(_is(fields.get(key), value) for key, value in where.items())


def _is(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and not isinstance(wanted, str):
        return found.strip().casefold() == value_text(wanted)
    return bool(found == wanted)
