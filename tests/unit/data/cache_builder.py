"""A process that fills the token cache, as a training or `sft data build` does, and prints what it got.

cache_builder.py EXPERIMENT MOMENT: it may be killed by its own hand at a moment: `begin`, `middle` (half of the records
are written), `header` (all arrays are, the header is not), `rename` (all is written, nothing is published), `published`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import sftlib.data.preparation as preparation
import sftlib.data.processing as processing
from sftlib.artifacts import tokencache
from sftlib.config.tree import SFTConfig
from tests.tiny import build_tokenizer

PART = 25


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before(module: object, name: str, call: int = 1) -> None:
    """Die where the function would be called for the so-manieth time."""
    original, calls = getattr(module, name), iter(range(1, 10_000))

    def killing(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            kill()
        return original(*arguments, **options)

    setattr(module, name, killing)


def main() -> None:
    path, moment = Path(sys.argv[1]), sys.argv[2]
    processing.PART = PART
    config = SFTConfig.from_file(path)
    {
        "none": lambda: None,
        "begin": lambda: kill_before(preparation, "_count"),
        "middle": lambda: kill_before(preparation, "_count", 20),
        "header": lambda: kill_before(processing, "write_header"),
        "rename": lambda: kill_before(tokencache, "_publish"),
        "published": lambda: kill_before(processing, "say"),
    }[moment]()
    processor = processing.SFTDatasetProcessor(config, build_tokenizer())
    print("ready", flush=True)
    go = path.parent / "go"
    while moment == "none" and not go.exists():  # several start at the very same time
        time.sleep(0.001)
    rows = processor.rows("train")
    print(json.dumps({"key": processor.key("train"), "rows": len(rows), "tokens": rows.tokens, "last": rows[-1]}))


if __name__ == "__main__":
    main()
