"""What stands between the cells of a CSV file: half of the world's spreadsheets write a semicolon under that name."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

SEPARATORS = (",", ";", "\t", "|")  # of several that are equally frequent the first one counts
_HEADER_BYTES = 1024 * 1024


def separator_of(file: Path) -> str:
    """A tab where the name ends in .tsv, else what the header has most of outside quotes; a comma where it has none."""
    if Path(file.name.lower().removesuffix(".gz")).suffix == ".tsv":
        return "\t"
    return separator_in(_first_line(file))


def separator_in(header: str) -> str:
    bare = "".join(header.split('"')[::2])  # every other part stands in quotes
    return max(SEPARATORS, key=bare.count)


def _first_line(file: Path) -> str:
    try:
        with gzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb") as stream:
            line = stream.readline(_HEADER_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return ""  # its reader says what is wrong with it
    return line.decode("utf-8", errors="replace").partition("\r")[0]
