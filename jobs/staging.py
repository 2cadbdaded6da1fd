"""What must lie in the shared cache before a run: what an experiment needs from elsewhere, and whether it is as it was staged.

The bundled model is staged here where it is missing: `sft stage` as a process of its own.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TextIO

from jobs.imagecheck import known_sha256
from sftlib.artifacts.staged import DATA, MODEL, TOKENIZER, manifest_path, staged_faults
from sftlib.config.problems import Problem
from sftlib.config.references import BUNDLED, bundled_model, get_key
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError
from sftlib.paths import hub_cache, hub_snapshots

_KEYS = {MODEL: "model.name_or_path", TOKENIZER: "model.tokenizer"}


def unstaged_models(configs: Iterable[SFTConfig]) -> list[str]:
    """Names of bundled models that are not in the cache."""
    given = dict.fromkeys(config.model.name_or_path for config in configs)
    names = [name.removeprefix(BUNDLED) for name in given if name.startswith(BUNDLED)]
    return [name for name in names if not _has_bundled(name)]


def _has_bundled(name: str) -> bool:
    return (bundled_model(name) / "config.json").exists()


def staging_problems(configs: Iterable[SFTConfig], *, is_offline: bool) -> Iterator[Problem]:
    """What is not as it was staged. With `is_offline` also what was never fetched: jobs run with the hubs switched off."""
    needs = dict.fromkeys(need for config in configs for need in _needs(partial(_setting, config)))
    for kind, name, revision in needs:
        key = _KEYS.get(kind, kind)
        is_bundled = name.startswith(BUNDLED)
        if is_bundled and not _has_bundled(name.removeprefix(BUNDLED)):
            continue  # made before the first element starts
        manifest = manifest_path(kind, name, revision)
        if manifest.exists():
            yield from (Problem(key, fault, name) for fault in staged_faults(manifest, known_sha256))
        elif is_offline and kind in _KEYS and not is_bundled and not any(hub_snapshots(name).glob("*/*")):
            message = (
                f"is not staged in {hub_cache()}, and jobs run offline: `sft stage EXPERIMENT` where there is internet"
            )
            yield Problem(key, message, name)


def staged_for(run: Run) -> tuple[str, ...]:
    """The manifests of all that the cells of a run use: elements look at them again where they run."""
    base = run.record["config"]
    overrides: list[dict[str, Any]] = [cell.overrides for cell in run.cells]

    def value(own: dict[str, Any], key: str) -> Any:
        return own[key] if key in own else get_key(base, key)

    needs = dict.fromkeys(need for own in overrides for need in _needs(partial(value, own)))
    return tuple(str(path) for need in needs if (path := manifest_path(*need)).exists())


def _setting(config: SFTConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


def _needs(value_of: Callable[[str], Any]) -> Iterator[tuple[str, str, str | None]]:
    """(kind, name, revision) of all that comes from elsewhere; a folder of the user's own does not."""
    for kind, key in _KEYS.items():
        name = value_of(key)
        if isinstance(name, str) and not name.startswith("/"):
            yield kind, name, value_of("model.revision") if kind == MODEL else None
    for split in ("train", "validation", "test"):
        if hub := value_of(f"data.{split}.hub"):
            yield DATA, hub, value_of(f"data.{split}.revision")


def stage_bundled(configs: Iterable[SFTConfig], arguments: Sequence[str], output: TextIO) -> None:
    """Run `sft stage ARGUMENTS` if a bundled model is missing; raises SftError when it fails."""
    names = unstaged_models(configs)
    if not names:
        return
    print(f"staging        bundled model {', '.join(names)} (once)", file=output, flush=True)
    code = subprocess.run([sys.executable, "-m", "sftlib", "stage", *arguments], stdout=output, check=False).returncode
    if code:
        raise SftError(
            f"staging {', '.join(names)} failed (exit {code}): its message stands above; try `sft stage {shlex.quote(arguments[0])}`"
        )
