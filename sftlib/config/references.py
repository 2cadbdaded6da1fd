"""What an experiment points to: paths made absolute, strategies read in, bundled parts found."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from sftlib.config.problems import ConfigError, Problem, did_you_mean
from sftlib.paths import cache_dir, project_dir

BUNDLED = "bundled:"
BUNDLED_DATA = Path(__file__).resolve().parent.parent / "data"
_PATH_KEYS = (
    "data.train.path", "data.validation.path", "data.test.path", "prompt.template_file", "prompt.strategy_file",
    "container.image", "lora.adapter",
)  # fmt: skip
# A strategy's generation parameters, by the names that such files use.
_PARAMETERS = {"max_tokens": "max_new_tokens", "max_new_tokens": "max_new_tokens", "temperature": "temperature",
               "top_p": "top_p", "stop": "stop"}  # fmt: skip


def get_key(values: dict[str, Any], key: str) -> Any:
    """The value of a dotted key, or None."""
    current: Any = values
    for part in key.split("."):
        if not isinstance(current, dict) or part not in current:
            return None
        current = current[part]
    return current


def with_key(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with the dotted key set; only the sections on the way are copied."""
    first, _, rest = key.partition(".")
    inner = values.get(first)
    if isinstance(inner, str):
        inner = {"path": inner}
    return {**values, first: with_key(inner or {}, rest, value) if rest else value}


def resolve(values: dict[str, Any], base: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Values with absolute paths and the strategy's texts filled in, and what could not be found."""
    problems: list[Problem] = []
    for key in ("data.train", "data.validation", "data.test"):
        if isinstance(get_key(values, key), str):
            values = with_key(values, key, {"path": get_key(values, key)})
    for key in _PATH_KEYS:
        given = get_key(values, key)
        if isinstance(given, str) and "${" not in given:
            values = with_key(values, key, str(locate(given, base, key)))
    values = _resolve_function(values, base)
    for key in ("model.name_or_path", "model.tokenizer"):
        values = _resolve_model(values, key, base, problems)
    values = _resolve_strategy(values, problems)
    return values, problems


def locate(given: str, base: Path, key: str = "") -> Path:
    """An absolute path: bundled, or beside the experiment file, or below the current folder, or a named prompt file."""
    if given.startswith(BUNDLED):
        return BUNDLED_DATA / given.removeprefix(BUNDLED)
    candidates = [base / Path(given).expanduser(), Path.cwd() / given]
    if key == "prompt.strategy_file":
        folder = project_dir("configs") / "prompts"
        candidates += [folder / given, folder / f"{given}.json"]
    return next((path for path in candidates if path.exists()), candidates[0]).absolute()


def _resolve_function(values: dict[str, Any], base: Path) -> dict[str, Any]:
    """`module:function` as the file beside the experiment, where there is one: jobs run elsewhere."""
    module, _, function = str(get_key(values, "data.formatting_func") or "").rpartition(":")
    file = base / f"{module.removesuffix('.py').replace('.', '/')}.py" if module else base
    if not module or not file.is_file():
        return values
    return with_key(values, "data.formatting_func", f"{file.absolute()}:{function}")


def bundled_model(name: str) -> Path:
    """Where `sft stage` puts a bundled model."""
    return cache_dir() / "models" / name


def _resolve_model(values: dict[str, Any], key: str, base: Path, problems: list[Problem]) -> dict[str, Any]:
    """A folder beside the experiment, or a Hub id."""
    given = get_key(values, key)
    if not isinstance(given, str) or given.startswith(BUNDLED) or "${" in given:
        return values
    path = locate(given, base)
    if path.is_dir():
        return with_key(values, key, str(path))
    if given.startswith((".", "/", "~")) or given.count("/") > 1:
        message = "there is no such folder: expected a model folder, a Hub id such as org/name, or bundled:NAME"
        problems.append(Problem(key, message, given))
    return values


def _resolve_strategy(values: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Fill the prompt's texts and the generation parameters from the strategy, where the file does not say them."""
    file, name = get_key(values, "prompt.strategy_file"), get_key(values, "prompt.strategy")
    if not isinstance(file, str) and not isinstance(name, str):
        return values
    if name is None and _is_swept(values, "prompt.strategy"):
        return values  # each cell names its own
    try:
        strategy = read_strategy(str(file) if file else None, str(name) if name else None)
    except ConfigError as error:
        problems.extend(error.problems)
        return values
    filled = {"prompt.system": strategy.get("system_prompt"), "prompt.user": strategy.get("user_template")}
    parameters = strategy.get("parameters") or {}
    filled |= {
        f"predict.{ours}": parameters.get(theirs) for theirs, ours in _PARAMETERS.items() if theirs in parameters
    }
    for key, value in filled.items():
        if value is not None and get_key(values, key) is None:
            values = with_key(values, key, value)
    return values


def _is_swept(values: dict[str, Any], key: str) -> bool:
    sweep = values.get("sweep")
    if not isinstance(sweep, dict):
        return False
    listed = [entry for entry in sweep.get("list") or [] if isinstance(entry, dict)]
    return any(
        key in (part or {}) for part in [sweep.get("grid"), sweep.get("random"), *listed] if not isinstance(part, list)
    )


@lru_cache(maxsize=64)
def read_strategy(file: str | None, name: str | None) -> dict[str, Any]:
    """One strategy of a strategy file `{"strategies": {NAME: {...}}}`."""
    if file is None:
        raise ConfigError([Problem("prompt.strategy", "needs prompt.strategy_file beside it", name)])
    strategies = _read_strategies(Path(file))
    if name is None and len(strategies) == 1:
        return next(iter(strategies.values()))
    if name not in strategies:
        raise ConfigError(
            [Problem("prompt.strategy", f"{file} has no such strategy{did_you_mean(str(name), strategies)}", name)]
        )
    return strategies[name]


def strategy_names(file: Path) -> list[str]:
    """The strategies of a file, in its order."""
    return list(_read_strategies(file))


def _read_strategies(file: Path) -> dict[str, Any]:
    key = "prompt.strategy_file"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(path.stem for path in (project_dir("configs") / "prompts").glob("*.json"))
        raise ConfigError([Problem(key, f"there is no such file{did_you_mean(file.stem, known)}", str(file))]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(key, f"not readable as JSON: {error}", str(file))]) from None
    strategies = content.get("strategies") if isinstance(content, dict) else None
    if (
        not isinstance(strategies, dict)
        or not all(isinstance(item, dict) for item in strategies.values())
        or not strategies
    ):
        raise ConfigError([Problem(key, 'expected {"strategies": {NAME: {"user_template": ...}}}', str(file))])
    for name, item in strategies.items():
        if not isinstance(item.get("user_template"), str):
            raise ConfigError([Problem(key, f"strategy {name!r} has no user_template", str(file))])
    return strategies
