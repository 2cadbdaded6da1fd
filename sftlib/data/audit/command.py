"""`audit`: what is wrong with the supervision of an experiment, a run or bare files; exit 2 when a run would be stopped."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

from sftlib.artifacts.atomic import write_json
from sftlib.config.data import AuditError
from sftlib.config.layers import parse_set, set_key
from sftlib.data.audit.audit import audit
from sftlib.data.audit.prompts import prompt_file
from sftlib.data.audit.screen import audit_lines
from sftlib.data.audit.showing import chosen, record_lines
from sftlib.data.audit.subject import Subject, open_subject
from sftlib.errors import DONE, WRONG_INPUT, InputError

HELP = "find what is wrong with the supervision: targets, masks, prompts, duplicates, leakage, filters"
EXAMPLE = """examples:
  sft audit configs/experiments/demo_cpu.yaml
  sft audit runs/latest                                   # writes audit.json in the run directory
  sft audit data/train.jsonl --test data/test.jsonl --model org/model --set data.label_column=gold
  sft audit data/train.jsonl --prompts configs/prompts/hate_speech.json --strategy combined_optimized
  sft audit configs/experiments/demo_cpu.yaml --show 3

exit code: 0 no error, 2 something was found that stops a run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", type=Path, metavar="EXP|RUN|DATA", help="experiment, run directory, or file or folder of records"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a dotted key of the experiment"
    )
    parser.add_argument("--cluster", metavar="PROFILE", help="profile that the experiment is checked with")
    parser.add_argument(
        "--accept", action="append", default=[], choices=get_args(AuditError), metavar="KIND",
        help="take errors of this kind as warnings, as data.accept does",
    )  # fmt: skip
    data = parser.add_argument_group("with data files")
    data.add_argument("--validation", type=Path, metavar="FILE", help="validation records beside DATA")
    data.add_argument("--test", type=Path, metavar="FILE", help="test records beside DATA")
    data.add_argument("--model", metavar="NAME", help="model folder or Hub id whose tokenizer counts tokens")
    prompts = parser.add_argument_group("prompts of prediction that are kept apart")
    prompts.add_argument(
        "--prompts", type=Path, metavar="FILE", help="strategy file, or records with `messages` or `prompt`"
    )
    prompts.add_argument("--strategy", metavar="NAME", help="strategy in that file")
    parser.add_argument(
        "--show", metavar="N", help="print the tokens of record N (a number, a range 3-5, or a sample id)"
    )
    parser.add_argument(
        "--split", default="train", choices=["train", "validation", "test"], help="split of --show (default: train)"
    )
    parser.add_argument("--json", action="store_true", help="print what audit.json holds")


def run(arguments: argparse.Namespace) -> int:
    subject = _subject(arguments)
    if arguments.show:
        return _show(subject, arguments.split, arguments.show)
    prompts = prompt_file(arguments.prompts, arguments.strategy) if arguments.prompts else None
    record = audit(subject, prompts, arguments.accept)
    if subject.run:
        write_json(subject.run.paths.audit, record)
    if arguments.json:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        print("\n".join(audit_lines(record)))
    return WRONG_INPUT if record["errors"] else DONE


def _subject(arguments: argparse.Namespace) -> Subject:
    others = {name: path for name in ("validation", "test") if (path := getattr(arguments, name))}
    for path in filter(None, [*others.values(), arguments.prompts]):
        if not path.exists():
            raise InputError(f"{path} does not exist")
    settings: dict[str, Any] = {}
    for item in arguments.set:
        set_key(settings, *parse_set(item))
    overrides = [*arguments.set]
    if arguments.model:
        set_key(settings, "model.name_or_path", arguments.model)
        overrides.append(f"model.name_or_path={arguments.model}")
    return open_subject(arguments.target, overrides, others, settings, arguments.cluster)


def _show(subject: Subject, name: str, wanted: str) -> int:
    from sftlib.data.audit.tokens import load_light_tokenizer
    from sftlib.data.rendering import Renderer

    if name not in subject.parts:
        raise InputError(f"--split {name}: there is no such split here")
    config = subject.views[0].config
    if not config.model.name_or_path:
        raise InputError("--show needs a tokenizer: name it with --model")
    renderer = Renderer(config, load_light_tokenizer(config))
    for position, entry in chosen(subject.parts[name], wanted):
        if entry.sample.target is None:
            raise InputError(f"{entry.place}: has no answer to learn: nothing is supervised")
        print("\n".join(record_lines(position, entry, renderer, colour=sys.stdout.isatty())))
    return DONE
