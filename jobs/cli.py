"""The command `sft`: its first word chooses a module of jobs/commands, or is handed on to `python -m sftlib`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sftlib import __version__
from sftlib.errors import DONE, WRONG_INPUT, guard

_RUN_SIDE = "sftlib"


@dataclass(frozen=True)
class Command:
    """Where a command is at home, and what it does in a line."""

    home: str  # module of the submit side, or the run side's package
    summary: str


def _here(name: str, summary: str) -> Command:
    return Command(f"jobs.commands.{name}", summary)


def _run_side(summary: str) -> Command:
    return Command(_RUN_SIDE, summary)


GROUPS: dict[str, dict[str, Command]] = {
    "Experiment": {
        "plan": _here("plan", "validate an experiment, show cells, shards and elements; submits nothing"),
        "run": _here("run", "train every cell, predict in shards, merge, report; reuses what is there"),
        "status": _here("status", "how far a run is, cell by cell and shard by shard"),
        "logs": _here("logs", "the log of an element"),
        "cancel": _here("cancel", "stop everything of a run"),
        "rerun": _here("rerun", "run what is missing, failed or corrupt"),
    },
    "Stages by hand": {
        "train": _run_side("train one cell, without a scheduler"),
        "predict": _run_side("predict shards with an adapter or the base model"),
        "merge": _run_side("merge a run's shards, compute metrics, write the report"),
    },
    "Data": {
        "audit": _run_side("what is wrong with the supervision, before a GPU is asked for"),
        "prompts": _run_side("labelled records and a strategy file to chat-format JSONL"),
        "data": _run_side("what the token cache holds; clear it"),
    },
    "Evaluation": {
        "evaluate": _run_side("metrics, bias and report for any predictions"),
        "compare": _run_side("two cells, runs or prediction files, pair by pair"),
        "convergence": _run_side("loss, gradient norm, learning rate: verdict and plot"),
    },
    "Adapters and images": {
        "adapter": _run_side("fold an adapter into its base; publish it"),
        "container": _here("container", "build the image; prove what is in it"),
        "stage": _run_side("fetch model, tokenizer and data into the cache"),
    },
    "Setup": {
        "doctor": _here("doctor", "what this machine or cluster has, and what it lacks"),
        "presets": _here("presets", "presets, profiles, prompt strategies, templates"),
        "schema": _here("schema", "JSON Schema of experiment files, for editors"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    is_debug = words[:1] == ["--debug"]
    words = words[is_debug:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(), file=sys.stdout if words else sys.stderr)
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        print(f"sft {__version__}")
        return DONE
    return _dispatch(words[0], words[1:], is_debug)


def _dispatch(name: str, rest: list[str], is_debug: bool) -> int:
    if name not in COMMANDS:
        return _unknown(name)
    home = COMMANDS[name].home
    if home == _RUN_SIDE:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", _RUN_SIDE, name, *(["--debug"] if is_debug else []), *rest])
    module = import_module(home)
    args = _parser(name, module).parse_args(rest)
    return guard(lambda: _run(module, args, is_debug or args.debug))


def _parser(name: str, module: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"sft {name}", description=module.__doc__, epilog=module.EXAMPLE, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _run(module: Any, args: argparse.Namespace, is_debug: bool) -> int:
    try:
        return module.run(args)
    except Exception:
        if is_debug:
            traceback.print_exc()
        raise


def _unknown(name: str) -> int:
    from sftlib.config.problems import did_you_mean

    what = "option" if name.startswith("-") else "command"
    print(f"sft: there is no {what} {name!r}{did_you_mean(name, COMMANDS)} (sft --help)", file=sys.stderr)
    return WRONG_INPUT


def help_text() -> str:
    """All commands by group, a line each."""
    lines = [
        "usage: sft [--debug] COMMAND ...",
        "",
        "From one YAML file to adapters, predictions and a report that a reviewer can trust.",
    ]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<12} {command.summary}" for name, command in commands.items())]
    lines += ["", "sft COMMAND --help shows options and an example; --debug shows tracebacks; --version the version."]
    return "\n".join([*lines, "", "example:  sft run configs/experiments/demo_cpu.yaml --cluster local"])


if __name__ == "__main__":
    sys.exit(main())
