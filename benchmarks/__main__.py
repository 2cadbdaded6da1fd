"""Every suite of a kind, one process each: `python -m benchmarks cpu` (make bench-cpu), `python -m benchmarks gpu`."""

from __future__ import annotations

import subprocess
import sys

# Suite -> the arguments with which it writes its results.
SUITES = {
    "cpu": {
        "merge": ["--write"],
        "startup": ["--write"],
        "audit": ["--write"],
        "preparation": ["--write"],
        "streaming": ["--write"],
        "planner": ["--write"],
        "prediction": ["--write"],
        "prediction_workers": ["--write"],
        "prediction_kills": ["--write"],
        "wrapper": ["--write"],
        "parallel": ["--write"],
        "killed_training": ["--write"],
        "fast_path": ["--write"],
        "head_memory": ["--write"],
        "adapters": ["--write"],
        "training_quality": ["--write"],
        "scaling": [],
        "jobs": ["--write"],
        "many_elements": ["--write"],
        "repeating": ["--write"],
    },
    "gpu": {"gpu": ["--all", "--write"]},
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in SUITES:
        print(f"usage: python -m benchmarks {'|'.join(SUITES)}", file=sys.stderr)
        return 2
    failed = []
    for suite, words in SUITES[arguments[0]].items():
        print(f"== {suite}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{suite}", *words], check=False).returncode:
            failed.append(suite)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
