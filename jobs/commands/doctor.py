"""Say what this machine has and what it lacks for sftlib, each with a remedy; nothing large is imported."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from jobs import machine
from jobs.commands.options import RUNS_DIR, add_json
from jobs.staging import unstaged_models
from jobs.tables import table
from sftlib.config.tree import SFTConfig
from sftlib.errors import DONE
from sftlib.paths import cache_dir

EXAMPLE = """examples:
  sft doctor
  sft doctor --json --runs-dir /scratch/runs"""
_CORE = ("pydantic", "PyYAML", "submitit")
_TRAIN = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "numpy", "scipy")
_OPTIONAL = ("bitsandbytes", "deepspeed", "vllm", "wandb")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_LITTLE_MEMORY_GB, _LITTLE_DISK_GB = 4, 5


@dataclass(frozen=True)
class Fact:
    """One thing found out."""

    name: str
    value: str
    is_ok: bool = True
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.add_argument(
        "--runs-dir", metavar="DIR", type=Path, default=RUNS_DIR, help="whose disk is looked at (default: runs)"
    )


def run(args: argparse.Namespace) -> int:
    facts = [fact for look in _LOOKS for fact in look(args)]
    if args.json:
        print(json.dumps([asdict(fact) for fact in facts], indent=2))
        return DONE
    rows = [["OK" if fact.is_ok else "WARN", fact.name, fact.value, fact.remedy] for fact in facts]
    print("\n".join(table(["", "what", "found", "remedy"], rows, indent="")))
    return DONE


def _python(args: argparse.Namespace) -> Iterator[Fact]:
    yield Fact("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages(args: argparse.Namespace) -> Iterator[Fact]:
    yield from _present(_CORE, "pip install sftlib")
    yield from _present(_TRAIN, "pip install 'sftlib[train]', or run stages in the image")
    found = {name: version for name in _OPTIONAL if (version := _version(name))}
    yield Fact("optional", ", ".join(f"{name} {version}" for name, version in found.items()) or "none")


def _present(names: tuple[str, ...], remedy: str) -> Iterator[Fact]:
    for name in names:
        version = _version(name)
        yield Fact(name, version or "absent", version is not None, "" if version else remedy)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _hardware(args: argparse.Namespace) -> Iterator[Fact]:
    yield Fact("cores", str(machine.cores()))
    memory = machine.memory_gb()
    if memory is not None:
        yield Fact(
            "memory",
            f"{memory:.1f} GiB free",
            memory >= _LITTLE_MEMORY_GB,
            _unless(memory >= _LITTLE_MEMORY_GB, "set cluster.slots: 1"),
        )
    disk = machine.disk_free_gb(args.runs_dir.absolute())
    yield Fact(
        "disk",
        f"{disk:.0f} GiB free for {args.runs_dir}",
        disk >= _LITTLE_DISK_GB,
        _unless(disk >= _LITTLE_DISK_GB, "--runs-dir elsewhere"),
    )
    names = machine.device_names()
    yield Fact("devices", "; ".join(names) or "none: stages run on the CPU")


def _cluster(args: argparse.Namespace) -> Iterator[Fact]:
    for name, without in (("sbatch", "the local profile runs here"), ("apptainer", "stages run in this Python")):
        path, version = shutil.which(name), machine.command_output(name, "--version")
        if path and not version:
            yield Fact(name, f"{path} does not answer --version", False, "does sinfo work? until then --cluster local")
        else:
            yield Fact(name, version or f"absent: {without}")


def _caches(args: argparse.Namespace) -> Iterator[Fact]:
    folder = cache_dir()
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    is_writable = os.access(parent, os.W_OK)
    yield Fact(
        "cache", str(folder), is_writable, _unless(is_writable, "set SFTLIB_CACHE to a folder that you may write to")
    )
    model = SFTConfig().model.name_or_path
    is_staged = not unstaged_models([SFTConfig()])
    yield Fact(
        "model",
        f"{model} {'staged' if is_staged else 'not staged'}",
        is_staged,
        _unless(is_staged, "sft run stages it, or sft stage EXP"),
    )


def _offline(args: argparse.Namespace) -> Iterator[Fact]:
    named = [f"{name}={os.environ[name]}" for name in _OFFLINE if name in os.environ]
    yield Fact("offline", ", ".join(named) or "no variable set (elements run offline all the same)")


def _unless(is_ok: bool, remedy: str) -> str:
    return "" if is_ok else remedy


_LOOKS: list[Callable[[argparse.Namespace], Iterator[Fact]]] = [
    _python,
    _packages,
    _hardware,
    _cluster,
    _caches,
    _offline,
]
