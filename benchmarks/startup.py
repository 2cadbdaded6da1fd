"""How long a person waits for `sft --help` and `sft plan`: the median of ten processes on a warm disk.

python -m benchmarks.startup [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "startup.json"
SFT = Path(sys.executable).with_name("sft")
COMMANDS = {
    "sft --help": ["--help"],
    "sft plan demo_cpu": ["plan", "configs/experiments/demo_cpu.yaml", "--cluster", "local"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    floor = _median([sys.executable, "-c", "pass"])
    figures = {name: _median([str(SFT), *words]) for name, words in COMMANDS.items()}
    for name, seconds in {"python -c pass": floor, **figures}.items():
        print(f"{name:<20} {seconds:.3f} s")
    if arguments.write:
        record = {
            "median_s": figures,
            "python_s": floor,
            "runs": 10,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _median(command: list[str]) -> float:
    times = []
    for _ in range(11):  # the first warms the disk's cache and is not counted
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[1:]), 3)


if __name__ == "__main__":
    sys.exit(main())
