"""The run side's commands: `python -m sftlib train ...`, as `sft train` and every element of a job call them."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from sftlib.artifacts.processes import write_lines_whole
from sftlib.errors import guard

# Command -> the module that owns it. Only the chosen one is imported.
COMMANDS = {
    "train": "sftlib.train.command",
    "predict": "sftlib.infer.command",
    "merge": "sftlib.report.command",
    "repeat": "sftlib.report.repeat",
    "evaluate": "sftlib.report.foreign.command",
    "compare": "sftlib.report.compare.command",
    "stage": "sftlib.models.staging",
    "data": "sftlib.data.command",
    "audit": "sftlib.data.audit.command",
    "prompts": "sftlib.data.prompt_files.command",
    "adapter": "sftlib.publish.command",
    "convergence": "sftlib.convergence.command",
}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        print(f"sft: no stage {name!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[name])
    parsed = _parser(name, module).parse_args(arguments[1:])
    _quiet()
    if parsed.debug:
        return module.run(parsed)
    return guard(lambda: module.run(parsed))


def _parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"sft {name}", description=module.HELP, epilog=module.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    module.add_arguments(parser)
    return parser


def _quiet() -> None:
    """Libraries report what concerns them; our lines are the ones a reader of the log looks for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # a bar that is redrawn is a mile of text in a log
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed says on standard output that it found none
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    write_lines_whole()
    sys.exit(main())
