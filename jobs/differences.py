"""What is not as it was when a run was made, each in a line: data, settings, image; then code, packages, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.imagecheck import image_sha256
from jobs.tables import shorten, shown
from sftlib.config.inputs import read_split
from sftlib.config.layers import flatten
from sftlib.config.load import load_experiment
from sftlib.config.problems import ConfigError
from sftlib.config.rundir import Run, read_json
from sftlib.config.tree import SFTConfig
from sftlib.errors import CorruptError, DataError

_DIGITS, _WIDTH, _MOST_PACKAGES = 12, 60, 12
_PLACEMENT = ("cluster", "container")  # where it runs shapes no result
_MACHINE = {"cpu": "processor", "python": "Python", "devices": "devices", "driver": "driver", "nccl": "NCCL", "threads": "threads"}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One thing in one line."""

    words: str
    is_in_the_way: bool = False  # the run cannot be repeated with it


def differences_before(run: Run, config: SFTConfig) -> Iterator[Difference]:
    """What can be seen before anything is repeated."""
    yield from _data(run)
    yield from _settings(run)
    yield from _image(run, config)


def _data(run: Run) -> Iterator[Difference]:
    for name, recorded in run.inputs.items():
        if getattr(run.config.data, name, None) is None:
            continue
        try:
            found = read_split(run.config, name).sha256
        except DataError as error:
            yield Difference(f"data.{name}: {error}", is_in_the_way=True)
            continue
        if found != recorded["sha256"]:
            words = f"data.{name}: {recorded['path']} was changed: sha256 {_short(recorded['sha256'])} then, {_short(found)} now"
            yield Difference(words, is_in_the_way=True)


def _settings(run: Run) -> Iterator[Difference]:
    """The experiment file as it reads today, with its profile and prompt's files; the repetition keeps what was recorded."""
    path, settings = Path(run.record["experiment"]), (run.record["receipt"] or {}).get("settings") or []
    try:
        now = load_experiment(path, list(settings), run.config.cluster.profile).config.to_dict()
    except (ConfigError, DataError, OSError) as error:
        why = error.problems[0] if isinstance(error, ConfigError) else str(error).splitlines()[0]
        yield Difference(f"{path.name} cannot be read any more: {why}")
        return
    then = run.record["config"]
    recorded, found = dict(flatten(_without_placement(then))), dict(flatten(_without_placement(now)))
    for key in dict.fromkeys([*recorded, *found]):
        if recorded.get(key) != found.get(key):
            old, new = (shorten(repr(shown(values.get(key))), _WIDTH) for values in (recorded, found))
            yield Difference(f"{key}: {old} then, {new} in {path.name} now (repeated as it was then)")


def _without_placement(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _PLACEMENT}


def _image(run: Run, config: SFTConfig) -> Iterator[Difference]:
    then = {found for receipt in _receipts(run).values() if (found := receipt.get("image_sha256"))}
    now = image_sha256(config)
    if then != ({now} if now else set()):
        was = ", ".join(map(_short, sorted(then))) or "none"
        yield Difference(f"image: sha256 {was} then, {_short(now) if now else 'none'} now ({config.container.image})")


def differences_after(original: Run, repeated: Run) -> Iterator[Difference]:
    """What the stages themselves noted."""
    then, now = _receipts(original), _receipts(repeated)
    words: dict[str, None] = {}
    for cell in then.keys() & now.keys():
        for line in _receipt_lines(then[cell], now[cell]):
            words.setdefault(line)
    for line in [*words, *_parts_lines(original, repeated)]:
        yield Difference(line)


def _receipt_lines(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if then.get("code_sha256") != now.get("code_sha256"):
        yield f"code: sha256 {_short(then.get('code_sha256'))} then, {_short(now.get('code_sha256'))} now"
    for key, name in _MACHINE.items():
        old, new = then["machine"].get(key), now["machine"].get(key)
        if old != new:
            yield f"{name}: {shown(old)} then, {shown(new)} now"
    old, new = then["packages"], now["packages"]
    other = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    for name in other[:_MOST_PACKAGES]:
        yield f"package {name}: {old.get(name, 'absent')} then, {new.get(name, 'absent')} now"
    if len(other) > _MOST_PACKAGES:
        yield f"and {len(other) - _MOST_PACKAGES} more packages"


def _parts_lines(original: Run, repeated: Run) -> Iterator[str]:
    """Base model, tokenizer, prompt as the shards' manifests hash them; the adapter's own hash is compared elsewhere."""
    for cell in original.cells:
        paths = [run.paths.cell(cell.id).shard_manifest(0, run.num_shards) for run in (original, repeated)]
        try:
            then, now = (read_json(path)["parts"] for path in paths)
        except (CorruptError, KeyError):
            continue
        for name in then:
            if name != "adapter" and then[name] != now.get(name):
                yield f"{name} of {cell.id}: sha256 {_short(then[name])} then, {_short(now.get(name))} now"


def _receipts(run: Run) -> dict[str, dict[str, Any]]:
    """Cell -> what its training noted of itself."""
    found = {}
    for cell in run.cells:
        try:
            summary = read_json(run.paths.cell(cell.id).summary)
        except CorruptError:
            continue
        if isinstance(summary, dict) and summary.get("receipt"):
            found[cell.id] = summary["receipt"]
    return found


def _short(digest: Any) -> str:
    return str(digest)[:_DIGITS]
