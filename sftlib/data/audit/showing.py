"""Records as training sees them: their tokens, the supervised ones in colour, or in marks where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sftlib.data.audit.entries import Entry, Part
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.errors import InputError

OPEN, CLOSE = "⟦", "⟧"  # around supervised text
_BETWEEN = "·"  # between tokens
_SUPERVISED, _MASKED, _RESET = "\033[30;42m", "\033[2m", "\033[0m"


def chosen(part: Part, wanted: str) -> list[tuple[int, Entry]]:
    """`7`, `3-5` (positions, from 1) or a sample id."""
    for position, entry in enumerate(part.entries, 1):
        if entry.sample.id == wanted:
            return [(position, entry)]
    first, _, last = wanted.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise InputError(
            f"--show {wanted}: the {part.name} split has no such sample id; give one, or a number or a range 3-5"
        )
    low, high = int(first), int(last or first)
    if not 1 <= low <= high or low > len(part):
        raise InputError(f"--show {wanted}: the {part.name} split has records 1 to {len(part)}")
    return list(enumerate(part.entries, 1))[low - 1 : high]


def record_lines(position: int, entry: Entry, renderer: Renderer, *, colour: bool) -> Iterator[str]:
    """A head line, then the tokens."""
    row = renderer.row(entry.sample)
    labels = row.labels
    supervised = sum(label != IGNORED for label in labels)
    yield f"record {position}  id {entry.sample.id}  {entry.place}  {len(row.ids)} tokens, {supervised} supervised"
    pieces = _pieces(renderer.tokenizer, list(row.ids), [label != IGNORED for label in labels])
    yield "".join(_painted(list(run), is_on, colour) for is_on, run in groupby(pieces, key=lambda piece: piece[1]))
    yield ""


def _painted(pieces: list[tuple[str, bool]], is_on: bool, colour: bool) -> str:
    text = _BETWEEN.join(text for text, _ in pieces)
    if not colour:
        return f"{OPEN}{text}{CLOSE}" if is_on else text
    paint = _SUPERVISED if is_on else _MASKED
    return "\n".join(f"{paint}{line}{_RESET}" for line in text.split("\n"))


def _pieces(tokenizer: Any, ids: list[int], is_supervised: list[bool]) -> list[tuple[str, bool]]:
    """Tokens as text; those that are only part of a character are taken together."""
    pieces: list[tuple[str, bool]] = []
    start = 0
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        is_cut = (
            text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids) and is_supervised[end] == is_supervised[start]
        )
        if not is_cut or end - start > 8:
            pieces.append((text, is_supervised[start]))
            start = end
    return pieces
