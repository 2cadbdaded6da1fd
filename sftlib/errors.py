"""The one hierarchy of errors, and what each means to a shell and to a scheduler.

`exit_code` is what a person's command returns (0 done, 1 failed while running, 2 the input is wrong, 3 incomplete);
`stage_code` is what a scheduled element returns, so that the supervisor knows whether another try can help.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable

DONE, FAILED, WRONG_INPUT, INCOMPLETE = 0, 1, 2, 3
BAD_CONFIG, BAD_DATA, UNHEALTHY_NODE, REQUEUE = 64, 65, 69, 75

# Set by the supervisor for the stage that it starts.
ELEMENT_VARIABLE = "SFTLIB_ELEMENT"  # this process is an element of a scheduled run
STOP_VARIABLE = "SFTLIB_STOP_FILE"  # the stage looks for this file between steps
ATTEMPT_VARIABLE = "SFTLIB_ATTEMPT"  # number of the submission
IMAGE_VARIABLE = "SFTLIB_IMAGE_SHA256"  # of the image in which this process runs
NODES_VARIABLE = "SFTLIB_NODES"  # names of the nodes on which this element runs


class SftError(Exception):
    """Something that we can name. The message carries the value, what was expected and the remedy."""

    exit_code = FAILED
    stage_code = FAILED


class InputError(SftError):
    """What the user wrote or pointed to is wrong: running it again as it is cannot help."""

    exit_code = WRONG_INPUT
    stage_code = BAD_CONFIG


class DataError(InputError):
    """A data file is missing, empty, or not what its format says."""

    stage_code = BAD_DATA


class CorruptError(SftError):
    """A file that was whole when it was written is not whole now."""


class IncompleteError(SftError):
    """The work ran, and something is missing; the message says what, and the command that mends it."""

    exit_code = INCOMPLETE
    stage_code = INCOMPLETE


class UnhealthyNodeError(SftError):
    """This node cannot do the work; another may."""

    stage_code = UNHEALTHY_NODE


class DivergedError(SftError):
    """The training's numbers are none any more: with the same settings it would come to the same."""

    stage_code = BAD_CONFIG


class StoppedError(SftError):
    """Asked to stop by a signal or a stop file; a checkpoint is there and the element wants to be requeued."""

    exit_code = REQUEUE
    stage_code = REQUEUE


def guard(command: Callable[[], int | None]) -> int:
    """Run a command at the edge of the process: its exit code, or that of the error it ended with."""
    try:
        return command() or DONE
    except SftError as error:
        _complain(error)
        return error.stage_code if os.environ.get(ELEMENT_VARIABLE) else error.exit_code
    except KeyboardInterrupt:
        print("sft: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `sft status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except ModuleNotFoundError as error:
        return _report_missing_package(error)
    except OSError as error:
        return _report_os_error(error)


def _complain(error: SftError) -> None:
    """Say it once: of several ranks that end alike, the first speaks, and its launcher ends the others meanwhile."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        print(f"sft: {error}", file=sys.stderr)
    elif error.stage_code != REQUEUE:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(2)
        print(f"sft: rank {rank}: {error}", file=sys.stderr)


# Which extra of sftlib brings a package; "" for what sftlib itself asks for.
EXTRAS = {
    "": ("pydantic", "yaml", "submitit"),
    "evaluate": ("numpy", "pyarrow", "scipy"),
    "train": ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tensorboard", "matplotlib", "gguf"),
    "qlora": ("bitsandbytes",),
} | {name: (name,) for name in ("deepspeed", "vllm", "wandb", "mlflow", "trackio", "unsloth")}


def _report_missing_package(error: ModuleNotFoundError) -> int:
    """A login node has the submit side alone; a stage that is started there says what it needs."""
    package = (error.name or "").partition(".")[0]
    if package in ("sftlib", "jobs"):
        raise error
    print(
        f"sft: this needs the package {package}, which is not installed here: pip install {_source_of(package)}",
        file=sys.stderr,
    )
    return FAILED


def _source_of(package: str) -> str:
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    if extra is None:
        return package
    return f"'sftlib[{extra}]'" if extra else "sftlib"


def _report_os_error(error: OSError) -> int:
    """A full disk or a closed folder is named, not shown as a traceback (which `--debug` gives)."""
    logging.getLogger("sftlib").debug("traceback", exc_info=error)
    where = f": {error.filename}" if error.filename else ""
    print(f"sft: {error.strerror or error}{where} ({type(error).__name__})", file=sys.stderr)
    return FAILED
