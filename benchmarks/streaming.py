"""The memory of preparing, and then of reading in training order, ten thousand, a hundred thousand and a million records.

python -m benchmarks.streaming [--records 10000 100000 1000000] [--write]

Memory is the proportional set size of a process and its children together, looked at ten times a second: what the
machine has to hold, pages of mapped files counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.preparation import PROCESSES, measure, processor_of, write_chats

LIMIT_MB = 1500
SHORTER = 1.5  # short chats: what may not grow is the memory with the number of records


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--side", choices=_SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(_SIDES[arguments.side](arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="sft-streaming-") as name:
        rows = [_row(count, Path(name)) for count in arguments.records]
    notes = [
        f"data.streaming, {PROCESSES} processes that tokenise; rows are read in random order by batches of 32, as a data loader does",
        f"limit: {LIMIT_MB:,} MB at a million records",
    ]
    publish("streaming", "Memory of preparing and reading many records", rows, notes=notes, write=arguments.write)
    return 0 if all(row["preparing_mb"] < LIMIT_MB and row["reading_mb"] < LIMIT_MB for row in rows) else 1


def _row(count: int, folder: Path) -> dict[str, Any]:
    write_chats(folder / "chats.jsonl", count, shorter=SHORTER)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    built, read = measure("build", folder, "streaming"), measure("read", folder, "streaming")
    if read["tokens"] != built["tokens"]:
        raise SystemExit(f"read {read['tokens']} of {built['tokens']} tokens")
    return {
        "records": f"{count:,}", "file_mb": round((folder / "chats.jsonl").stat().st_size / 1e6),
        "tokens": f"{built['tokens']:,}", "preparing_mb": built["peak_mb"], "preparing_s": round(built["seconds"], 1),
        "warm_s": round(read["opened_s"], 3), "reading_mb": read["peak_mb"], "reading_s": round(read["seconds"], 1),
    }  # fmt: skip


def _build(folder: Path) -> dict[str, Any]:
    processor = processor_of(folder)
    started = time.perf_counter()
    rows = processor.rows("train")
    return {"tokens": rows.tokens, "seconds": time.perf_counter() - started}


def _read(folder: Path) -> dict[str, Any]:
    """Every row once, in random order, as the trainer's data loader asks for it."""
    from torch.utils.data import DataLoader

    processor = processor_of(folder)
    started = time.perf_counter()
    rows = processor.rows("train")
    opened = time.perf_counter() - started
    loader = DataLoader(rows.as_dataset(), batch_size=32, shuffle=True, collate_fn=list)
    tokens = sum(len(row["input_ids"]) for batch in loader for row in batch)
    return {"tokens": tokens, "opened_s": opened, "seconds": time.perf_counter() - started}


_SIDES = {"build": _build, "read": _read}

if __name__ == "__main__":
    sys.exit(main())
