"""`data`: what the token cache holds, whether it is whole, and how it is filled and cleared."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.artifacts.tokencache import Entry, all_entries, last_used, leftovers, read_entry
from sftlib.errors import CorruptError, InputError
from sftlib.paths import TokenPaths, token_cache

HELP = "list, show, verify, fill and clear the token cache"
EXAMPLE = """examples:
  sft data
  sft data show 3f9c
  sft data verify
  sft data clean --unused-for 30d
  sft data build configs/experiments/demo_cpu.yaml"""
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
_IN_USE_S = 3600.0


@dataclass(frozen=True)
class _Found:
    """A folder of the cache: an entry, or what is wrong with it."""

    folder: TokenPaths
    entry: Entry | None
    fault: str = ""

    @property
    def key(self) -> str:
        return self.folder.root.name

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.root.rglob("*") if path.is_file())

    def to_json(self) -> dict[str, Any]:
        told = self.entry.to_json() if self.entry else {"key": self.key}
        where = {"path": str(self.folder.root), "bytes": self.bytes, "last_used": last_used(self.folder)}
        return {**told, **where, "fault": self.fault or None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(action=_list)
    actions = parser.add_subparsers(title="actions (default: list)", metavar="ACTION")
    _action(actions, "list", "every entry", _list)
    _action(actions, "show", "one entry: what its key was made of", _show).add_argument("key", help="key, or its start")
    verify = _action(actions, "verify", "hash every array again; exit code 1 when one is damaged", _verify)
    verify.add_argument("keys", nargs="*", metavar="KEY", help="entries (default: all)")
    _add_clean(_action(actions, "clean", "remove entries and what killed builders left", _clean))
    build = _action(actions, "build", "tokenise what a run's trainings will read, before any of them", _build)
    build.add_argument("target", type=Path, help="experiment file or run directory")
    build.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    build.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run directories are (default: runs)")


def _action(actions: Any, name: str, summary: str, run_it: Callable[..., int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of a table")
    parser.set_defaults(action=run_it)
    return parser


def _add_clean(parser: argparse.ArgumentParser) -> None:
    which = parser.add_argument_group("what goes (leftovers of killed builders go in any case)")
    which.add_argument("keys", nargs="*", metavar="KEY", help="entries by key, or its start")
    which.add_argument("--unused-for", metavar="AGE", help="entries that nothing has read for so long: 30d, 12h, 90m")
    which.add_argument("--damaged", action="store_true", help="entries that are not whole")
    which.add_argument("--all", action="store_true", help="every entry")
    parser.add_argument("--force", action="store_true", help="also what was read within the last hour")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def run(arguments: argparse.Namespace) -> int:
    action: Callable[[argparse.Namespace], int] = arguments.action
    return action(arguments)


def _list(arguments: argparse.Namespace) -> int:
    found, left = _entries(), leftovers()
    if arguments.json:
        value = {"cache": str(token_cache()), "entries": [item.to_json() for item in found]}
        print(json.dumps({**value, "leftovers": [str(path) for path in left]}, indent=2))
        return 0
    print(f"token cache  {token_cache()}")
    if found:
        print("\n".join(["", *_table(found), f"  {_many(len(found), 'entry')}, {_size(sum(f.bytes for f in found))}"]))
    else:
        print("  empty: a training fills it, or `sft data build EXPERIMENT`")
    if left:
        print(f"  {_many(len(left), 'leftover')} of killed builders: `sft data clean` removes them")
    return 0


_HEADER = ["key", "data", "tokenizer", "template", "records", "tokens", "size", "used"]


def _table(found: Sequence[_Found]) -> list[str]:
    lines = [_HEADER, *(_columns(item) for item in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    return [
        "  " + "  ".join(f"{text:{'<' if c < 4 else '>'}{widths[c]}}" for c, text in enumerate(line)) for line in lines
    ]


def _columns(item: _Found) -> list[str]:
    entry, used = item.entry, _age(time.time() - last_used(item.folder))
    if entry is None:
        return [item.key[:8], "DAMAGED", "", "", "", "", _size(item.bytes), ""]
    name = f"{Path(entry.source).name} ({entry.split})"
    tokenizer = entry.tokenizer.rpartition("/")[2]
    counts = [f"{entry.records:,}", f"{entry.tokens:,}"]
    return [entry.key[:8], name[-40:], tokenizer[-30:], entry.template, *counts, _size(item.bytes), used]


def _show(arguments: argparse.Namespace) -> int:
    item = _one(arguments.key)
    value = item.to_json()
    if arguments.json:
        print(json.dumps(value, indent=2))
        return 0
    value["parts"] = json.dumps(value.get("parts"), indent=1)
    value["files"] = ", ".join(f"{name} {_size(file['bytes'])}" for name, file in value.get("files", {}).items())
    times = {name: _moment(value[name]) for name in ("created", "last_used") if value.get(name)}
    for name, text in {**value, **times}.items():
        print(f"{name:<18} {text}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    chosen = [_one(key) for key in arguments.keys] or _entries()
    checked = [_checked(item) for item in chosen]
    damaged = [item for item in checked if item.fault]
    if arguments.json:
        print(json.dumps([{"key": item.key, "fault": item.fault or None} for item in checked], indent=2))
    else:
        for item in damaged:
            print(f"{item.key}: {item.fault}")
        whole = len(checked) - len(damaged)
        print(
            f"{whole} of {_many(len(checked), 'entry')} whole"
            + ("" if not damaged else "; damaged ones are built anew")
        )
    return 1 if damaged else 0


def _checked(item: _Found) -> _Found:
    try:
        return _Found(item.folder, read_entry(item.folder, deep=True))
    except CorruptError as error:
        return _Found(item.folder, None, str(error))


def _clean(arguments: argparse.Namespace) -> int:
    found, kept = _chosen(arguments), []
    if not arguments.force:
        kept = [item for item in found if item.entry and time.time() - last_used(item.folder) < _IN_USE_S]
    going = [item for item in found if item not in kept]
    left = leftovers()
    freed = sum(item.bytes for item in going)
    for path in [*(item.folder.root for item in going), *left] if not arguments.dry_run else []:
        shutil.rmtree(path, ignore_errors=True)
    value = {
        "removed": [item.key for item in going],
        "leftovers": len(left),
        "bytes": freed,
        "kept": [i.key for i in kept],
    }
    if arguments.json:
        print(json.dumps({**value, "dry_run": arguments.dry_run}, indent=2))
        return 0
    would = "would remove" if arguments.dry_run else "removed"
    print(f"{would} {_many(len(going), 'entry')} ({_size(freed)}) and {_many(len(left), 'leftover')}")
    if kept:
        print(
            f"kept {_many(len(kept), 'entry')} read within the last hour, perhaps by a running job: --force takes them too"
        )
    return 0


def _chosen(arguments: argparse.Namespace) -> list[_Found]:
    if arguments.all:
        return _entries()
    chosen = {item.key: item for item in map(_one, arguments.keys)}
    oldest = time.time() - _seconds(arguments.unused_for) if arguments.unused_for else None
    for item in _entries():
        is_old = oldest is not None and last_used(item.folder) < oldest
        if is_old or (arguments.damaged and item.entry is None):
            chosen[item.key] = item
    return list(chosen.values())


def _build(arguments: argparse.Namespace) -> int:
    from sftlib.data.building import build_run

    built = build_run(arguments.target, arguments.set, arguments.runs_dir)
    if arguments.json:
        print(json.dumps(built, indent=2))
    else:
        for item in built:
            print(
                f"{item['split']:<11} {item['rows']:,} rows, {item['tokens']:,} tokens, {item['seconds']} s  {item['key'][:8]}"
            )
    return 0


def _entries() -> list[_Found]:
    return [
        _Found(folder, None, value) if isinstance(value, str) else _Found(folder, value)
        for folder, value in all_entries()
    ]


def _one(key: str) -> _Found:
    """The one entry whose key begins so."""
    found = [item for item in _entries() if item.key.startswith(key)]
    if len(found) != 1:
        what = f"no entry {key!r}" if not found else f"several entries that begin with {key!r}"
        raise InputError(f"{token_cache()} has {what}: `sft data` lists them")
    return found[0]


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", age)
    if match is None:
        raise InputError(f"--unused-for {age!r}: expected a number and m, h or d, such as 30d")
    return float(match[1]) * _UNITS_S[match[2]]


def _age(seconds: float) -> str:
    for unit, length in reversed(_UNITS_S.items()):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"


def _moment(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def _many(count: int, noun: str) -> str:
    return (
        f"{count:,} {noun}"
        if count == 1
        else f"{count:,} {noun.removesuffix('y') + 'ie' if noun.endswith('y') else noun}s"
    )
