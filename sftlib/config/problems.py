"""Problems of an experiment file: each with file, line, key, value, what was expected and what to do; all at once."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from sftlib.errors import InputError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    key: str  # dotted, "" for the file as a whole
    message: str  # the expectation, and the remedy
    value: Any = None
    place: str = ""  # file:line, or where else the value came from

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        what = (
            f"{self.key} = {_shown(self.value)}: "
            if self.key and self.value is not None
            else f"{self.key}: "
            if self.key
            else ""
        )
        return f"{where}{what}{self.message}"

    def as_json(self) -> dict[str, Any]:
        return {"place": self.place, "key": self.key, "value": _shown(self.value), "message": self.message}


class ConfigError(InputError):
    """Everything that is wrong with an experiment, numbered."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        super().__init__("\n".join([f"{count} problem{'s' if count != 1 else ''} found", *lines]))


def _shown(value: Any) -> str:
    """Long values lose their middle: a path is known by its end."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:40]} ... {text[-75:]}"


def from_pydantic(error: ValidationError, root: type[BaseModel], place_of: Any) -> list[Problem]:
    """Pydantic's errors in our words; `place_of(key)` tells where a key was written."""
    problems = []
    for item in error.errors(include_url=False):
        location = [str(part) for part in item["loc"]]
        key = ".".join(_without_union_parts(location, root))
        value = None if item["type"] == "extra_forbidden" and isinstance(item["input"], dict) else item["input"]
        problems.append(Problem(key, _message(item, location, root), value, place_of(key)))
    return _one_each(problems)


def _one_each(problems: list[Problem]) -> list[Problem]:
    """A union reports each of its branches; the reader needs the key once, with all that was expected."""
    merged: dict[str, Problem] = {}
    for problem in problems:
        first = merged.get(problem.key)
        if first is None:
            merged[problem.key] = problem
        elif problem.message not in first.message:
            joined = f"{first.message}, or {problem.message.removeprefix('expected ')}"
            merged[problem.key] = Problem(first.key, joined, first.value, first.place)
    return list(merged.values())


def _message(item: Any, location: list[str], root: type[BaseModel]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(location[-1], _keys_beside(location, root))}"
    if kind == "literal_error":
        choices = _choices(context["expected"])
        return f"expected one of {', '.join(choices)}{did_you_mean(str(item['input']), choices)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{_quoted_number_hint(item['input'])}"
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        return f"expected a value {sign} {context[name]}"
    if kind == "string_pattern_mismatch":
        return f"expected {_FORMS.get(context['pattern'], 'text of the form ' + context['pattern'])}"
    return f"expected: {item['msg']}"


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}
_LIMITS = {
    "greater_than_equal": ("of at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("of at most", "le"),
    "less_than": ("below", "lt"),
}

_FORMS = {  # what the patterns of the sections ask for, in words
    r"^[A-Za-z0-9][A-Za-z0-9 ._'-]{0,63}$": "up to 64 letters a-z, digits, blanks and . _ ' -, a letter or digit first",
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$": "a day as YYYY-MM-DD",
    r"^[0-9a-f]{64}$": "the 64 digits that sha256sum prints, in small letters",
}


def _quoted_number_hint(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return f"; write {value} without quotes"


def _choices(expected: str) -> list[str]:
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the choices when none is near."""
    choices = list(choices)
    near = difflib.get_close_matches(given, choices, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(choices)}" if len(choices) <= 40 else ""


def section_at(location: list[str], root: type[BaseModel]) -> type[BaseModel] | None:
    """The section class that the path of keys leads to."""
    section: type[BaseModel] | None = root
    for part in location:
        if section is None:
            return None
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        section = _section_in(fields[part].annotation) if part in fields else None
    return section


def annotation_at(location: list[str], root: type[BaseModel]) -> Any:
    """The type of the value that the path of keys leads to; None where there is no such key. A mapping's keys are free."""
    for depth in range(len(location) - 1, -1, -1):
        section = section_at(location[:depth], root)
        if section is None:
            continue
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        found = fields[location[depth]].annotation if location[depth] in fields else None
        for _ in location[depth + 1 :]:
            found = typing.get_args(found)[1] if typing.get_origin(found) is dict else None
        return found
    return None


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        found = [_section_in(part) for part in typing.get_args(annotation)]
        return next((section for section in found if section), None)
    return None


def keys_of(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _keys_beside(location: list[str], root: type[BaseModel]) -> list[str]:
    section = section_at(location[:-1], root)
    return keys_of(section) if section else []


def _without_union_parts(location: list[str], root: type[BaseModel]) -> list[str]:
    """Pydantic names the branch of a union in the path (`sample_size.int`): not a key that anyone wrote."""
    section = section_at(location[:-1], root)
    if len(location) > 1 and section is None and section_at(location[:-2], root) is not None:
        parent = section_at(location[:-2], root)
        if parent and location[-2] in keys_of(parent) and not location[-1].isdigit():
            return location[:-1]
    return location
