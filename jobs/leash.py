"""`python leash.py PARENT COMMAND...`: become COMMAND, and be killed when the process PARENT ends, however it ends.

A program of its own, started by path: code between fork and exec (`preexec_fn`) can hang where there are threads.
"""

import contextlib
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; the setting survives exec
PARENT_GONE = 75  # as after a stop: another try may go on


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError):
            import ctypes

            # KILL, not TERM: whoever takes over must not meet a stage that is still writing its last checkpoint.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the leash was on
        sys.exit(PARENT_GONE)
    # Slurm signals every process of a step. Ignored survives exec until a program sets its own handler, as a stage does;
    # by default USR2 would end a launcher, or a stage that is still importing.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the driver starts us with the terminal's signals blocked
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"sft: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
