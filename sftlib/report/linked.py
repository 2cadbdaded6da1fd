"""predictions.parquet as a folder, for runs too large to be written twice: shards come in, and stand there under
`cell=NAME/` as hard links. Readers of Parquet folders take the cell's name from the path as a column."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sftlib.artifacts.atomic import replacing_dir

MOST_BYTES = 512 * 2**20  # beyond this one file would cost more than all the arithmetic of a merge


class Folder:
    """Links shards into a folder that is not there yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[str] = set()  # to ask the file system for a folder that is there costs milliseconds

    def append(self, cell: str, shard: Path) -> None:
        target = self.root / f"cell={quote(cell)}" / shard.name
        if cell not in self._made:
            target.parent.mkdir(exist_ok=True)
            self._made.add(cell)
        try:
            os.link(shard, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(shard, target)


@contextlib.contextmanager
def linked_writer(target: Path) -> Iterator[Folder]:
    """Yield a folder that takes shards; when the block ends well, it stands at `target`."""
    with replacing_dir(target) as temporary:
        yield Folder(temporary)
