"""`sft` with the stand-in for its stages: everything of a run is real but the work, which takes no time."""

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobs import chain
from jobs.cli import main
from jobs.commands import rerun, run
from jobs.slurm.journal import Journal

FAKE_STAGE = [sys.executable, str(Path(__file__).parents[1] / "unit" / "jobs" / "fake_stage.py")]

for module in (run, rerun):
    module.Chain = functools.partial(chain.Chain, command=FAKE_STAGE)  # type: ignore[attr-defined]


def _kill_at(step: str) -> None:
    """Dies by SIGKILL right after the journal has noted `intended:train`, `submitted:merge`, `released`..."""
    add = Journal._add

    def add_and_die(self: Journal, event: dict[str, Any]) -> None:
        add(self, event)
        kind = event.get("array", "").partition("-")[0]
        if step == (f"{event['event']}:{kind}" if kind else event["event"]):
            os.kill(os.getpid(), signal.SIGKILL)

    Journal._add = add_and_die  # type: ignore[method-assign]


if "SFTLIB_TEST_KILL_AT" in os.environ:
    _kill_at(os.environ["SFTLIB_TEST_KILL_AT"])

if __name__ == "__main__":
    sys.exit(main())
