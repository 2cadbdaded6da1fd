"""`python fake_driver.py RUN SECONDS_OF_GRACE`: drives a run with the stand-in stages, in a process that tests may kill."""

import sys
from pathlib import Path

from jobs.chain import Chain, run_chain
from jobs.screen import PlainScreen
from sftlib.config.rundir import open_run
from sftlib.errors import guard

FAKE_STAGE = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


def main() -> int:
    run = open_run(Path(sys.argv[1]))
    chain = Chain(
        run, run.config, run.cell_config, deep=True, stage=lambda: None,
        screen=PlainScreen(sys.stdout), command=FAKE_STAGE, patience_s=20.0, grace_s=float(sys.argv[2]),
    )  # fmt: skip
    return run_chain(chain).code


if __name__ == "__main__":
    sys.exit(guard(main))
