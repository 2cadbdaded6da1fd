"""`prompts build`: labelled records and a strategy file to chat-format JSONL; every record that is not there is accounted for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sftlib.config.inputs import named_splits
from sftlib.config.layers import parse_set, set_key
from sftlib.config.load import is_experiment, load_experiment, parse
from sftlib.config.problems import ConfigError
from sftlib.config.references import get_key, locate, with_key
from sftlib.config.tree import SFTConfig
from sftlib.config.yamlfile import parse_value
from sftlib.data.audit.guessing import files_by_split, guessed_settings
from sftlib.data.prompt_files.build import Built, build
from sftlib.errors import InputError

HELP = "labelled records and a strategy file to chat-format JSONL (messages: system, user, assistant)"
EXAMPLE = """examples:
  sft prompts build configs/experiments/hate_speech.yaml --out prompts
  sft prompts build data/unified --out prompts --strategies hate_speech --strategy combined_focused
  sft prompts build data/unified --out prompts --where split=train --set task.target=label

writes OUT/STRATEGY/train.jsonl, validation.jsonl, test.jsonl and OUT/manifest.json. Without --strategy the simple form and
the optimised one (combined_optimized) are built, where the file has them."""
_FORMS = ("simple", "combined_optimized")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="build", required=True)
    one = commands.add_parser(
        "build", help=HELP, description=HELP, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one.add_argument(
        "target", type=Path, metavar="EXP|DATA", help="experiment, or a file or folder of labelled records"
    )
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    one.add_argument(
        "--strategies", metavar="FILE", help="strategy file: a path or a name in configs/prompts (default: the experiment's, or hate_speech)"
    )  # fmt: skip
    one.add_argument("--strategy", action="append", metavar="NAME", help="strategy of that file; may be repeated")
    one.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE", help="keep these records of every split; the rest is counted"
    )  # fmt: skip
    one.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a dotted key of the experiment"
    )
    one.add_argument("--force", action="store_true", help="write over what is in DIR")
    one.add_argument("--json", action="store_true", help="print what manifest.json holds")


def run(arguments: argparse.Namespace) -> int:
    config, guessed = _config(arguments)
    file = _strategy_file(arguments, config)
    names = arguments.strategy or _default_strategies(file, config)
    built = build(config, file, names, arguments.out, force=arguments.force)
    print(json.dumps(built.manifest, indent=2, ensure_ascii=False) if arguments.json else _text(built, guessed))
    return 0


def _text(built: Built, guessed: list[str]) -> str:
    lines = [f"guessed: {', '.join(guessed)}"] if guessed else []
    for name, split in built.manifest["splits"].items():
        left_out = "".join(f"; {count:,} left out by {why}" for why, count in split["left_out"].items())
        labels = ", ".join(f"{label} {count:,}" for label, count in split["labels"].items())
        lines.append(f"{name:<10}  {split['read']:,} read, {split['written']:,} written{left_out}  ({labels})")
        lines += [f"{'':<10}    {fault}" for fault in split["faults"]]
    lines += [f"-> {path}" for path in built.files]
    return "\n".join(lines)


def _config(arguments: argparse.Namespace) -> tuple[SFTConfig, list[str]]:
    """Of the experiment, or guessed from the records; `--where` is laid over every split."""
    target: Path = arguments.target
    if is_experiment(target):
        config, guessed = load_experiment(target, arguments.set, "local").config, list[str]()
    else:
        values: dict[str, Any] = {}
        for item in arguments.set:
            set_key(values, *parse_set(item))
        values, guessed = guessed_settings(values, files_by_split(target))
        if get_key(values, "task.target") is None:
            values = with_key(values, "task.target", "json")
        parsed, problems = parse(values, lambda key: "--set")
        if parsed is None or problems:
            raise ConfigError(problems)
        config = parsed
    if config.task.type != "classification":
        raise InputError("prompts are built for labelled records: set task.type=classification and task.labels=[...]")
    return _with_where(config, arguments.where), guessed


def _with_where(config: SFTConfig, conditions: list[str]) -> SFTConfig:
    where: dict[str, Any] = {}
    for item in conditions:
        key, is_there, text = item.partition("=")
        if not is_there or not key.strip():
            raise InputError(f"--where {item}: expected FIELD=VALUE")
        where[key.strip()] = parse_value(text)
    values = config.to_dict()
    for name in named_splits(config) if where else []:
        if values["data"][name] and (values["data"][name]["path"] or values["data"][name]["hub"]):
            values["data"][name]["where"] |= where
    return SFTConfig.model_validate(values)


def _strategy_file(arguments: argparse.Namespace, config: SFTConfig) -> Path:
    given = arguments.strategies or config.prompt.strategy_file or "hate_speech"
    return locate(str(given), Path.cwd(), "prompt.strategy_file")


def _default_strategies(file: Path, config: SFTConfig) -> list[str]:
    from sftlib.config.references import strategy_names

    names = strategy_names(file)
    own = [config.prompt.strategy] if config.prompt.strategy and config.prompt.strategy_file == str(file) else []
    chosen = [name for name in names if name in {*_FORMS, *own}]
    if not chosen:
        raise InputError(f"{file} has neither {' nor '.join(_FORMS)}: name with --strategy which of {', '.join(names)}")
    return chosen
