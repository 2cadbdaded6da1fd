"""Say what this machine has and what it lacks for sftlib, each with a remedy; nothing large is imported."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from jobs import machine
from jobs.commands.options import RUNS_DIR, add_json
from jobs.staging import unstaged_models
from jobs.tables import table
from sftlib.artifacts.host import DEVICE_VARIABLE, cores
from sftlib.config.launch import torchrun_argv
from sftlib.config.tree import SFTConfig
from sftlib.errors import DONE
from sftlib.paths import cache_dir

EXAMPLE = """examples:
  sft doctor
  sft doctor --json --runs-dir /scratch/runs
  sft doctor --quick                          without the all-reduce, which takes seconds"""
_CORE = ("pydantic", "PyYAML", "submitit")
_TRAIN = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pyarrow", "numpy", "scipy")
_OPTIONAL = ("bitsandbytes", "deepspeed", "vllm", "wandb")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_LITTLE_MEMORY_GB, _LITTLE_DISK_GB = 4, 5
_LINKS_S = 90  # importing torch from a cold shared disk takes most of it


@dataclass(frozen=True)
class Fact:
    """One thing found out."""

    name: str
    value: str
    is_ok: bool = True
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="leave out what takes seconds: the smoke all-reduce")
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
    yield Fact("cores", str(cores()))
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


def _slurm(args: argparse.Namespace) -> Iterator[Fact]:
    """Its limits, as a profile must know them."""
    config = machine.command_output("scontrol", "show", "config") or ""
    limits = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in config.splitlines())}
    if not limits:
        return  # no Slurm, or none that answers: told above
    partitions = machine.command_output("sinfo", "--noheader", "--format=%R %l") or ""
    yield Fact("partitions", ", ".join(partitions.splitlines()) or "none")
    yield Fact("arrays", f"MaxArraySize {limits.get('MaxArraySize', 'unknown')}: cluster.max_array_size")
    has_books = machine.command_output("sacct", "--noheader", "--jobs=1") is not None
    yield Fact("sacct", "answers" if has_books else "does not answer: nothing here needs it")


def _links(args: argparse.Namespace) -> Iterator[Fact]:
    """Two processes, or one for each device, add a number as the ranks of a training do before it starts."""
    if args.quick or _version("torch") is None:
        return
    count = len(machine.devices())
    env = {**os.environ, **({DEVICE_VARIABLE: ""} if count < 2 else {})}
    argv = torchrun_argv([], processes=max(2, count), command=[sys.executable, "-m", "sftlib.train.links"])
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_LINKS_S, check=False)
    except subprocess.TimeoutExpired:
        yield Fact("all-reduce", f"no sum within {_LINKS_S} s", False, "is another process on the devices?")
        return
    is_ok = done.returncode == DONE
    said = (done.stdout if is_ok else done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
    yield Fact("all-reduce", said[-1], is_ok, _unless(is_ok, "see above; trainings on several devices need it"))


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
    _slurm,
    _caches,
    _offline,
    _links,
]
