"""How long a person waits for `sft --help` and `sft plan`, beside a Python that does nothing: medians of processes in turn.

python -m benchmarks.startup [--write]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import median, publish, race

SFT = str(Path(sys.executable).with_name("sft"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "sft --help": [SFT, "--help"],
    "sft plan": [SFT, "plan", "configs/experiments/demo_cpu.yaml", "--cluster", "local"],
}
ROUNDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the results")
    arguments = parser.parse_args()
    seconds = race({name: partial(_run, command) for name, command in COMMANDS.items()}, rounds=ROUNDS)
    rows = [{"command": name, "seconds": median(took)} for name, took in seconds.items()]
    notes = [f"the median of {ROUNDS} processes each, in turn, on a warm disk; sft plan: the experiment of `make demo`"]
    publish("startup", "From the key to the answer", rows, notes=notes, write=arguments.write)
    return 0


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
