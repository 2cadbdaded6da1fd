"""An adapter folded into its base, tensor by tensor over safetensors: never more in memory than one written file and
one tensor. LoRA, rsLoRA, DoRA and modules saved whole; what it cannot fold is refused before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sftlib.artifacts.progress import say
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.models.adapter_changes import IN_MEMORY, Adapter, Change, open_adapter
from sftlib.models.loading import model_source
from sftlib.paths import ADAPTER_CARD, ADAPTER_CONFIG, ADAPTER_RECORD, ADAPTER_WEIGHTS

FILE_BYTES = 2 * 1024**3  # of each written file, unless one tensor is larger
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_OF_ADAPTER = (ADAPTER_WEIGHTS, ADAPTER_CONFIG, ADAPTER_RECORD, ADAPTER_CARD)  # not part of the merged model
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")


def fold(base: Path, adapter: Path, target: Path, *, file_bytes: int = FILE_BYTES) -> list[str]:
    """Write the merged model into the empty folder `target`; returns the names of the weights that changed."""
    files = base_files(base)
    opened = open_adapter(adapter, set(files))
    _write_weights(target, _folded(files, opened), file_bytes)
    _copy_rest(base, adapter, target)
    return sorted(opened.changes)


def base_files(base: Path) -> dict[str, Path]:
    """Tensor -> the file of the base that holds it, in the order of the files."""
    _refuse_quantized(base)
    from safetensors import safe_open

    index = base / _INDEX
    if index.exists():
        names = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    else:
        names = [_SINGLE]
    found: dict[str, Path] = {}
    for name in names:
        path = base / name
        if not path.exists():
            raise InputError(f"{base} has no {name}: the merge reads safetensors; {IN_MEMORY}")
        with safe_open(str(path), framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), path)
    return found


def _refuse_quantized(base: Path) -> None:
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{base} is no model folder: it has no readable config.json") from None
    if config.get("quantization_config"):
        kind = config["quantization_config"].get("quant_method", "unknown")
        raise InputError(
            f"{base} holds quantised weights ({kind}): an adapter is folded into the unquantised base; name it with --base"
        )


def _folded(files: dict[str, Path], adapter: Adapter) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the base, changed where the adapter changes it."""
    from safetensors import safe_open

    with safe_open(str(adapter.weights), framework="pt") as factors:
        for path in dict.fromkeys(files.values()):
            with safe_open(str(path), framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - no dict
                    change = adapter.changes.get(name)
                    tensor = weights.get_tensor(name)
                    yield name, tensor if change is None else _changed(name, tensor, change, factors, adapter)


def _changed(name: str, weight: torch.Tensor, change: Change, factors: Any, adapter: Adapter) -> torch.Tensor:
    """Computed in float32 and stored in the base's own type."""
    if change.whole:
        whole = factors.get_tensor(change.whole)
        if whole.shape != weight.shape:
            raise InputError(
                f"{adapter.folder}: {name} is {tuple(whole.shape)}, the base's {tuple(weight.shape)}; {IN_MEMORY}"
            )
        return whole.to(weight.dtype)
    down, up = factors.get_tensor(change.down).float(), factors.get_tensor(change.up).float()
    is_turned = bool(adapter.settings.get("fan_in_fan_out"))
    if down.dim() != 2 or weight.shape != ((down.shape[1], up.shape[0]) if is_turned else (up.shape[0], down.shape[1])):
        raise InputError(
            f"{adapter.folder}: the factors of {name} ({tuple(up.shape)} x {tuple(down.shape)}) do not fit the base's "
            f"{tuple(weight.shape)}; {IN_MEMORY}"
        )
    delta = torch.mm(up, down).mul_(change.scale)
    if change.magnitude:
        return _scaled_columns(weight, delta, factors.get_tensor(change.magnitude).float(), is_turned)
    return delta.t().add(weight.float()).to(weight.dtype) if is_turned else delta.add_(weight.float()).to(weight.dtype)


def _scaled_columns(
    weight: torch.Tensor, delta: torch.Tensor, magnitude: torch.Tensor, is_turned: bool
) -> torch.Tensor:
    """DoRA: the direction of weight and update, in the learnt length of each output."""
    directed = delta.add_(weight.float().t() if is_turned else weight.float())
    directed *= (magnitude / directed.norm(dim=1)).unsqueeze(1)
    return (directed.t() if is_turned else directed).to(weight.dtype)


def _write_weights(folder: Path, tensors: Iterator[tuple[str, torch.Tensor]], file_bytes: int) -> None:
    """Files of at most `file_bytes`, and their index; one file keeps the plain name."""
    written: list[list[str]] = []
    held: dict[str, torch.Tensor] = {}
    held_bytes = total = 0
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if held and held_bytes + size > file_bytes:
            _write_file(folder, len(written), held)
            written.append(list(held))
            held, held_bytes = {}, 0
        held[name] = tensor.contiguous()
        held_bytes, total = held_bytes + size, total + size
    _write_file(folder, len(written), held)
    written.append(list(held))
    _name_files(folder, written, total)


def _write_file(folder: Path, place: int, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, str(folder / f"part-{place}"), metadata={"format": "pt"})


def _name_files(folder: Path, written: list[list[str]], total: int) -> None:
    if len(written) == 1:
        (folder / "part-0").rename(folder / _SINGLE)
        return
    weight_map: dict[str, str] = {}
    for place, names in enumerate(written):
        file = f"model-{place + 1:05d}-of-{len(written):05d}.safetensors"
        (folder / f"part-{place}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _copy_rest(base: Path, adapter: Path, folder: Path) -> None:
    """Configuration of the base; tokenizer and template as the adapter was trained with."""
    for source in (base, adapter):
        for path in sorted(source.iterdir()):
            is_weights = path.suffix in _WEIGHT_SUFFIXES or path.name == _INDEX
            is_foreign = source == adapter and path.name in _OF_ADAPTER
            if path.is_file() and not path.name.startswith(".") and not is_weights and not is_foreign:
                shutil.copyfile(path, folder / path.name)


def fold_in_memory(base: Path, adapter: Path, target: Path) -> list[str]:
    """PEFT's own merge, for what the streaming one cannot take up: needs memory for the whole model."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    _refuse_quantized(base)
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype="auto")
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(target)
    for path in sorted(adapter.iterdir()):
        if path.is_file() and path.name not in _OF_ADAPTER and path.suffix not in _WEIGHT_SUFFIXES:
            shutil.copyfile(path, target / path.name)
    return []


def fold_adapter(
    config: SFTConfig,
    adapter: Path,
    target: Path,
    *,
    base: Path | None = None,
    in_memory: bool = False,
    file_bytes: int = FILE_BYTES,
) -> list[str]:
    """The base as it is before any quantisation, and the adapter on it, as one model in `target`."""
    source = base or unquantized_base(config)
    say(f"folding {adapter} into {source}")
    return (
        fold_in_memory(source, adapter, target) if in_memory else fold(source, adapter, target, file_bytes=file_bytes)
    )


def unquantized_base(config: SFTConfig) -> Path:
    """The folder of the base's own weights; a hub's are looked for in the cache."""
    source = Path(model_source(config))
    if source.is_dir():
        return source
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                str(source),
                revision=config.model.revision,
                allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja"],
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"model.name_or_path = {config.model.name_or_path!r} is neither a folder nor to be had from the hub "
            f"({type(error).__name__}): name the base's folder with --base"
        ) from None
