"""The user's own function from a record to text, messages or fields: imported from beside the experiment, or installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from sftlib.artifacts.records import Record
from sftlib.config.formats import check_record, detect_format
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError, InputError, SftError

KEY = "data.formatting_func"


def formatted(records: Sequence[Record], config: SFTConfig) -> list[tuple[Record, str]]:
    """Each record with what the function makes of it laid over its fields, and the format that these are in."""
    name = config.data.formatting_func or ""
    function = load_function(name)
    if not config.data.formatting_batched:
        return [_laid_over(record, _called(function, record.fields, record.place, name), config) for record in records]
    if not records:
        return []
    columns = list(dict.fromkeys(column for record in records for column in record.fields))
    table = {column: [record.fields.get(column) for record in records] for column in columns}
    made = _rows(_called(function, table, records[0].place, name), len(records), name)
    return [_laid_over(record, value, config) for record, value in zip(records, made, strict=True)]


def _called(function: Callable[[Any], Any], argument: Any, place: str, name: str) -> Any:
    try:
        return function(argument)
    except SftError:
        raise
    except Exception as error:  # whatever the user's code raises is about this record
        raise DataError(f"{place}: {KEY} {name} raised {type(error).__name__}: {error}") from error


def _rows(made: Any, count: int, name: str) -> list[Any]:
    """What a batched function gives, record by record."""
    if isinstance(made, dict) and all(isinstance(values, list) for values in made.values()):
        lengths = {len(values) for values in made.values()}
        rows = (
            [dict(zip(made, row, strict=True)) for row in zip(*made.values(), strict=True)] if len(lengths) == 1 else []
        )
    else:
        rows = made if isinstance(made, list) else []
    if len(rows) != count:
        shape = (
            {key: len(values) for key, values in made.items()}
            if isinstance(made, dict) and rows
            else type(made).__name__
        )
        raise DataError(f"{KEY} {name} made {shape} of {count} records: expected a list, or lists, of the same length")
    return rows


def _laid_over(record: Record, made: Any, config: SFTConfig) -> tuple[Record, str]:
    data = config.data
    if isinstance(made, str):
        made = {data.text_column: made}
    elif isinstance(made, list):
        made = {data.messages_column: made}
    if not isinstance(made, dict):
        found = f"{type(made).__name__} {str(made)[:60]!r}"
        raise DataError(
            f"{record.place}: {KEY} gave {found}: expected text, a list of messages, or an object of fields"
        )
    try:
        fmt = detect_format(made, data)
    except DataError as error:
        raise DataError(f"{record.place}: {KEY}: {error}") from None
    result = Record(record.file, record.line, {**record.fields, **made})
    check_record(result, fmt, config)
    return result, fmt


@lru_cache(maxsize=8)
def load_function(name: str) -> Callable[[Any], Any]:
    """`module:function`, or `/path/file.py:function`; raises InputError that says what is missing."""
    where, _, attribute = name.rpartition(":")
    module = _from_file(Path(where)) if where.endswith(".py") else _installed(where, name)
    function = getattr(module, attribute, None)
    if not callable(function):
        known = ", ".join(sorted(key for key, value in vars(module).items() if callable(value) and key[0] != "_"))
        raise InputError(f"{KEY} = {name!r}: {where} has no function {attribute!r}; there are: {known or 'none'}")
    return function


def _installed(where: str, name: str) -> ModuleType:
    try:
        return import_module(where)
    except ModuleNotFoundError as error:
        if error.name and not f"{where}.".startswith(f"{error.name}."):
            raise
        raise InputError(
            f"{KEY} = {name!r}: there is no {where.replace('.', '/')}.py beside the experiment, and no such module is installed"
        ) from None


def _from_file(path: Path) -> ModuleType:
    """Its own folder is on the import path only while it is imported: jobs run with a path that nobody can shadow."""
    spec = spec_from_file_location(f"sftlib_user_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"{KEY}: {path} is not there: give module:function beside the experiment")
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's
        raise InputError(f"{KEY}: importing {path} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
