"""The places of a user template that a record's fields are put in: `{text}`, `{meta.label}`, `{Text of the post}`.

A name in braces that is no identifier is a placeholder only where there is such a field: an example of JSON, or `{your answer}`,
stays as it stands and needs no doubled braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_IN_BRACES = re.compile(r"\{([^{}\n]+)\}")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def names_in(template: str) -> list[str]:
    """Everything between braces that may be the name of a field."""
    return list(dict.fromkeys(_IN_BRACES.findall(template)))


def is_required(name: str) -> bool:
    """Whether the name is a placeholder even where no field has it: then it is a mistake."""
    return _IDENTIFIER.fullmatch(name) is not None


def filled(template: str, fields: Iterable[str], value: Callable[[str], str]) -> str:
    """The template with `value(name)` in each place; `value` is asked for required names that are no field, too."""
    known = set(fields)

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        return value(name) if name in known or is_required(name) else match.group(0)

    return _IN_BRACES.sub(replaced, template)


def parts(template: str, fields: Iterable[str]) -> list[str]:
    """What stands before, between and behind the places."""
    mark = "\x00"
    return filled(template, fields, lambda name: mark).split(mark)
