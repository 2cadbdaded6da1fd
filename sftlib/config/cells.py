"""The sweep as cells: each combination with a readable id and its own typed tree; the baselines beside them."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftlib.artifacts.adapters import weights_digest
from sftlib.artifacts.hashing import sha256_file, sha256_value
from sftlib.config.predict import COSMETIC
from sftlib.config.problems import ConfigError, Problem, from_pydantic
from sftlib.config.references import resolve, with_key
from sftlib.config.tree import SFTConfig

BASELINE = "baseline"
_SHORT = {
    "learning_rate": "lr", "num_epochs": "ep", "epochs": "ep", "batch_size": "bs", "gradient_accumulation": "ga",
    "target_modules": "tm", "weight_decay": "wd", "warmup_ratio": "wu", "name_or_path": "model", "strategy": "",
    "dropout": "do", "alpha": "a", "seed": "s", "quantization.kind": "", "kind": "",
}  # fmt: skip
_WITH_REFERENCES = ("prompt.strategy", "model.", "data.", "prompt.template_file", "lora.adapter")
# What a baseline's predictions depend on; cells that agree on it share one baseline.
_PROMPT_SECTIONS = ("data", "prompt", "task", "model", "predict")
# Of the data, what no prediction of the base model depends on.
_TRAIN_ONLY = ("sample_size", "workers", "cache", "streaming")


@dataclass(frozen=True)
class Cell:
    """One combination of the sweep."""

    id: str
    config: SFTConfig
    overrides: dict[str, Any]
    is_baseline: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether weights are learnt for it; a baseline has none, and an adapter that is there is taken over."""
        return not self.is_baseline and self.config.lora.adapter is None

    @property
    def digest(self) -> str:
        """The hash of everything that shapes this cell's adapter and predictions."""
        return sha256_value(result_settings(self.config))


def result_settings(config: SFTConfig) -> dict[str, Any]:
    """Of the tree, what shapes an adapter and its predictions; an adapter that is there already by its weights."""
    settings = _shaping_settings(config)
    if folder := config.lora.adapter:
        settings["lora"]["adapter"] = weights_digest(Path(folder))
    return settings


def _shaping_settings(config: SFTConfig) -> dict[str, Any]:
    tree = config.to_dict()
    for section in ("name", "description", "preset", "sweep", "report", "cluster", "container"):
        tree.pop(section)
    for cosmetic in COSMETIC:
        tree["predict"].pop(cosmetic)
    # Where files lie shapes nothing: their contents do, and those are hashed with the run.
    tree["prompt"].pop("strategy_file")
    if file := config.prompt.template_file:
        tree["prompt"]["template_file"] = sha256_file(Path(file)) if Path(file).is_file() else file
    tree["data"].pop("formatting_func")
    tree["data"].pop("accept")
    for split in ("train", "validation", "test"):
        if tree["data"][split]:
            tree["data"][split].pop("path")
    return tree


def baseline_digest(config: SFTConfig) -> str:
    """Equal for cells that ask the base model the same: they share one baseline."""
    settings = _shaping_settings(config)  # no adapter's weights are read for it
    for untouched in _TRAIN_ONLY:
        settings["data"].pop(untouched)
    return sha256_value([settings[name] for name in _PROMPT_SECTIONS])


def expand_cells(config: SFTConfig, values: dict[str, Any], base: Path, place_of: Callable[[str], str]) -> list[Cell]:
    """All cells of the sweep in order, then the baseline of each distinct prompt and model."""
    combinations = list(_combinations(config))
    ids = _ids([named for named, _ in combinations], [overrides for _, overrides in combinations])
    problems: list[Problem] = []
    cells = []
    for name, (_, overrides) in zip(ids, combinations, strict=True):
        tree = _cell_config(values, overrides, base, place_of, problems)
        if tree is not None:
            cells.append(Cell(name, tree, overrides))
    if problems:
        raise ConfigError(_distinct(problems))
    own = [cell for cell in cells if cell.config.train.enabled or cell.config.lora.adapter]
    found = own + (_baselines(cells) if config.predict.baseline else [])
    if not found:
        message = (
            "leaves nobody to answer, since train.enabled is false: set it to true, or name adapters as lora.adapter"
        )
        raise ConfigError([Problem("predict.baseline", message, False, place_of("predict.baseline"))])
    return found


def _distinct(problems: list[Problem]) -> list[Problem]:
    return list({str(problem): problem for problem in problems}.values())


def _cell_config(
    values: dict[str, Any],
    overrides: dict[str, Any],
    base: Path,
    place_of: Callable[[str], str],
    problems: list[Problem],
) -> SFTConfig | None:
    for key, value in overrides.items():
        values = with_key(values, key, value)
    if any(key.startswith(_WITH_REFERENCES) for key in overrides):
        values, missing = resolve(_unresolve_strategy(values, overrides), base)
        problems += missing
    try:
        return SFTConfig.model_validate(values)
    except ValidationError as error:
        for problem in from_pydantic(error, SFTConfig, place_of):
            place = place_of("sweep")
            problems.append(Problem(f"sweep: {problem.key}", problem.message, problem.value, place))
        return None


def _unresolve_strategy(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A cell with another strategy must not keep the texts that the experiment's own strategy filled in."""
    if "prompt.strategy" in overrides or "prompt.strategy_file" in overrides:
        for key in ("system", "user"):
            if f"prompt.{key}" not in overrides:
                values = {**values, "prompt": {k: v for k, v in values["prompt"].items() if k != key}}
    return values


def _combinations(config: SFTConfig) -> list[tuple[str | None, dict[str, Any]]]:
    sweep = config.sweep
    grids = [dict(zip(sweep.grid, choice, strict=True)) for choice in itertools.product(*sweep.grid.values())]
    listed = [(entry.get("id"), {k: v for k, v in entry.items() if k != "id"}) for entry in sweep.list_] or [(None, {})]
    drawn: list[dict[str, Any]] = _draws(sweep.random, sweep.draws, sweep.draw_seed) or [{}]
    seeds: list[dict[str, Any]] = [{"train.seed": seed} for seed in sweep.seeds] or [{}]
    return [
        (_named(name, grid, draw, seed), {**entry, **grid, **draw, **seed})
        for (name, entry), grid, draw, seed in itertools.product(listed, grids, drawn, seeds)
    ]


def _named(name: Any, *further: dict[str, Any]) -> str | None:
    if name is None:
        return None
    return "-".join([_slug(str(name)), *[_part(key, value) for part in further for key, value in part.items()]])


def _draws(space: dict[str, dict], count: int, seed: int) -> list[dict[str, Any]]:
    generator = random.Random(seed)
    return [{key: _draw(generator, how) for key, how in space.items()} for _ in range(count)] if space else []


def _draw(generator: random.Random, how: dict[str, Any]) -> Any:
    ((kind, argument),) = how.items()
    if kind == "choice":
        return generator.choice(argument)
    low, high = argument
    value = (
        generator.uniform(low, high)
        if kind == "uniform"
        else math.exp(generator.uniform(math.log(low), math.log(high)))
    )
    return float(f"{value:.3g}")


def _ids(names: list[str | None], combinations: list[dict[str, Any]]) -> list[str]:
    """Readable and distinct: the given id, else the overridden keys in short; a hash is added where two agree."""
    ids = []
    for name, overrides in zip(names, combinations, strict=True):
        ids.append(name or "-".join(filter(None, (_part(key, value) for key, value in overrides.items()))) or "main")
    counts = Counter(ids)
    return [
        name
        if counts[name] == 1 and name != BASELINE and len(name) <= 80
        else f"{name[:70]}-{sha256_value(overrides)[:6]}"
        for name, overrides in zip(ids, combinations, strict=True)
    ]


def _part(key: str, value: Any) -> str:
    leaf = key.rpartition(".")[2]
    if isinstance(value, list):
        value = "+".join(str(item).removesuffix("_proj") for item in value)
    if isinstance(value, float):
        value = f"{value:g}"
    return _slug(f"{_SHORT.get(leaf, leaf)}{value}")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9+._]+", "-", text.rpartition("/")[2] if "/" in text else text).strip("-.").lower() or "x"


def _baselines(cells: list[Cell]) -> list[Cell]:
    """One baseline for each distinct set of prompts, model and test set among the cells."""
    by_prompt: dict[str, Cell] = {}
    for cell in cells:
        by_prompt.setdefault(baseline_digest(cell.config), cell)
    several = len(by_prompt) > 1
    return [
        Cell(f"{BASELINE}-{cell.id}" if several else BASELINE, cell.config, cell.overrides, is_baseline=True)
        for cell in by_prompt.values()
    ]
