"""How long `sft audit` takes, from the command line to the exit code, with the demonstration's tokenizer.

python -m benchmarks.audit [--write]
Two sizes: 3,628 records and 100,000, split 7 : 1 : 2, of posts of 9 to 22 words with a few duplicates and copies across
splits; every check, near-duplicates and tokens included. Peak memory is of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from sftlib.config.references import bundled_model

SIZES = {3_628: 5.0, 100_000: 60.0}  # records: the seconds that they may take on 2 cores
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
_SYLLABLES = "ba ko ri ten mar lu shi ven to pal gre dor ni sam fe qua lor ick han vey".split()  # noqa: SIM905


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the figures in benchmarks/results")
    arguments = parser.parse_args()
    rows = [measured(count, limit) for count, limit in SIZES.items()]
    notes = [
        "seconds: the whole command, imports and reading included; median of three for the small size, one run of the large"
    ]
    publish("audit", "The audit", rows, notes=notes, write=arguments.write)
    return 0 if all(row["seconds"] < row["limit_s"] for row in rows) else 1


def measured(count: int, limit: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        sizes = write_splits(Path(folder), count)
        runs = [command(Path(folder)) for _ in range(3 if count < 10_000 else 1)]
    runs.sort(key=lambda run: run[0])
    seconds, record = runs[len(runs) // 2]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "records": sum(sizes.values()), "seconds": round(seconds, 2), "limit_s": limit, "peak_mib_so_far": round(peak),
        "tokens": record["splits"]["train"]["lengths"]["total"], "findings": len(record["findings"]),
        "near_pairs": sum(pair["near"] for pair in record["overlaps"]),
    }  # fmt: skip


def command(folder: Path) -> tuple[float, dict[str, Any]]:
    words = [
        sys.executable,
        "-m",
        "sftlib",
        "audit",
        str(folder),
        "--model",
        str(bundled_model("smollm2-135m-instruct")),
    ]
    started = time.perf_counter()
    done = subprocess.run(
        [*words, "--json"], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr)
    record = json.loads(done.stdout)
    if record["left_out"]:
        raise SystemExit(f"not everything was checked: {record['left_out']}")
    return seconds, record


def write_splits(folder: Path, count: int) -> dict[str, int]:
    rng = random.Random(count)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(5_000)]
    texts: list[str] = []
    for _ in range(count):
        fresh = " ".join(rng.choices(words, k=rng.randint(9, 22)))
        texts.append(_copy(rng, rng.choice(texts)) if texts and rng.random() < 0.01 else fresh)
    sizes, start = {}, 0
    for name, share in SHARES.items():
        end = start + round(count * share)
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for index, text in enumerate(texts[start:end], start):
                record = {
                    "original_id": f"r{index}",
                    "text": text,
                    "label": rng.choice(["hate", "normal"]),
                    "group": f"g{index % 3}",
                }
                stream.write(json.dumps(record) + "\n")
        sizes[name], start = len(texts[start:end]), end
    return sizes


def _copy(rng: random.Random, text: str) -> str:
    """A text again, half of the time with another last word."""
    return text if rng.random() < 0.5 else f"{text.rpartition(' ')[0]} {rng.choice(_SYLLABLES)}"


if __name__ == "__main__":
    sys.exit(main())
