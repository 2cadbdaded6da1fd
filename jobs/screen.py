"""Rows on a terminal, redrawn in place with bars; elsewhere a plain line for each change and one now and then."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from jobs.rows import ALIGN, HEADER, Row, counts
from jobs.tables import shorten, table

_BAR = 14
_REDRAW_S, _HEARTBEAT_S = 0.5, 20.0
_COLOURS = {"done": "32", "running": "36", "failed": "31", "lost": "31", "stopped": "33", "incomplete": "33"}
_SPEAKING = ("starting", "running")


class Screen(Protocol):
    """Where progress is shown."""

    def say(self, line: str) -> None: ...

    def show(self, rows: Sequence[Row], *, now: bool = False) -> None: ...

    def settle(self, rows: Sequence[Row]) -> None:
        """Show the rows once more; they stay, and what is said next stands below them."""


def make_screen(stream: TextIO) -> Screen:
    """The live table on a terminal, plain lines elsewhere."""
    is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
    return LiveScreen(stream) if is_live else PlainScreen(stream)


class PlainScreen:
    """For logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: dict[str, tuple[str, float]] = {}  # element -> the state last told, and when

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def show(self, rows: Sequence[Row], *, now: bool = False) -> None:
        for row in rows:
            state, when = self._told.get(row.element, ("waiting", 0.0))
            is_due = row.state in _SPEAKING and (now or time.monotonic() - when >= _HEARTBEAT_S)
            if row.state != state or is_due:
                self.say(f"{time.strftime('%H:%M:%S')}  {_sentence(row)}")
                self._told[row.element] = (row.state, time.monotonic())

    def settle(self, rows: Sequence[Row]) -> None:
        self.show(rows)


def _sentence(row: Row) -> str:
    _, state, amount, loss, speed, eta = row.columns()
    parts = [
        amount,
        f"loss {loss}" if loss else "",
        f"{speed} tok/s" if speed else "",
        f"eta {eta}" if eta else "",
        row.note,
    ]
    return f"{row.element:<32} {state:<10} {', '.join(filter(None, parts))}".rstrip()


class LiveScreen:
    """For a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = 0  # of the table as it stands on the screen
        self._last = 0.0
        self._is_coloured = "NO_COLOR" not in os.environ

    def say(self, line: str) -> None:
        self._clear()
        print(line, file=self._stream, flush=True)

    def show(self, rows: Sequence[Row], *, now: bool = False) -> None:
        if not now and time.monotonic() - self._last < _REDRAW_S:
            return
        self._last = time.monotonic()
        width, height = shutil.get_terminal_size()
        lines = live_table(rows, width - 1, height - 2, self._is_coloured, self._has_blocks)
        self._clear()
        print("\n".join(lines), file=self._stream, flush=True)
        self._lines = len(lines)

    def settle(self, rows: Sequence[Row]) -> None:
        self.show(rows, now=True)
        self._lines = 0

    @property
    def _has_blocks(self) -> bool:
        return "utf" in (self._stream.encoding or "").lower()

    def _clear(self) -> None:
        if self._lines:
            self._stream.write(f"\x1b[{self._lines}F\x1b[J")
        self._lines = 0


def live_table(rows: Sequence[Row], width: int, height: int, is_coloured: bool, has_blocks: bool) -> list[str]:
    """The table's lines, never more than fit: then what moves or failed is shown, and the rest is counted."""
    chosen = list(rows)
    if len(rows) + 2 > height:
        chosen = [row for row in rows if row.state not in ("waiting", "done", "skipped")][: max(1, height - 2)]
    cells = [[*row.columns()[:2], _bar(row, has_blocks), *row.columns()[2:]] for row in chosen]
    lines = table([*HEADER[:2], "", *HEADER[2:]], cells, "<<<" + ALIGN[2:])
    texts = [shorten(line, width) for line in lines]
    if is_coloured:
        texts = [texts[0], *(_coloured(text, row.state) for text, row in zip(texts[1:], chosen, strict=True))]
    return [*texts, shorten(f"  {counts(rows)}", width)]


def _bar(row: Row, has_blocks: bool) -> str:
    if not row.total and row.state != "done":
        return " " * _BAR
    full = _BAR if row.state == "done" else int(row.share * _BAR)
    return ("█" * full + "░" * (_BAR - full)) if has_blocks else "[" + ("#" * full).ljust(_BAR, ".") + "]"


def _coloured(text: str, state: str) -> str:
    code = _COLOURS.get(state)
    return re.sub(rf" {state}(?= |$)", f" \x1b[{code}m{state}\x1b[0m", text, count=1) if code else text
