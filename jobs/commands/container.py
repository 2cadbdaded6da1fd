"""Build the image in which stages run, or prove what is in one: `sft container build cpu|cuda|rocm`, `sft container verify IMAGE`."""

from __future__ import annotations

import argparse
import os
import sys

from sftlib.errors import InputError
from sftlib.paths import project_dir

EXAMPLE = """examples:
  sft container build cuda --output /scratch/images/sft-cuda.sif
  sft container build --help
  sft container verify sft-cuda.sif"""
_SCRIPTS = {"build": "build.sh", "verify": "verify.sh"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=sorted(_SCRIPTS), help="build an image, or print as JSON what is in one")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="as containers/build.sh or containers/verify.sh takes them",
    )


def run(args: argparse.Namespace) -> int:
    script = project_dir("containers") / _SCRIPTS[args.action]
    if not script.exists():
        raise InputError(
            f"{script} is not there: images are built from a checkout of the project, on a machine that may"
        )
    sys.stdout.flush()
    os.execv("/bin/bash", ["bash", str(script), *args.arguments])
