"""The bundled model made ready before anything needs it: `sft stage` as a process of its own, where it was not run yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from sftlib.config.problems import Problem
from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError
from sftlib.paths import hub_cache, hub_snapshots


def unstaged_models(configs: Iterable[SFTConfig]) -> list[str]:
    """Names of bundled models that are not in the cache."""
    given = dict.fromkeys(config.model.name_or_path for config in configs)
    names = [name.removeprefix(BUNDLED) for name in given if name.startswith(BUNDLED)]
    return [name for name in names if not (bundled_model(name) / "config.json").exists()]


def hub_models(configs: Iterable[SFTConfig]) -> list[str]:
    """Names of models that come from the Hub."""
    given = dict.fromkeys(config.model.name_or_path for config in configs)
    return [name for name in given if not name.startswith((BUNDLED, "/"))]


def staging_problems(configs: Iterable[SFTConfig]) -> Iterator[Problem]:
    """Jobs run with the hubs switched off: what was not fetched before fails here, not after hours in a queue."""
    for name in hub_models(configs):
        snapshots = hub_snapshots(name)
        if not any(snapshots.glob("*/config.json")):
            message = (
                f"is not staged in {hub_cache()}, and jobs run offline: `sft stage EXPERIMENT` where there is internet"
            )
            yield Problem("model.name_or_path", message, name)


def stage_bundled(configs: Iterable[SFTConfig], arguments: Sequence[str], output: TextIO) -> None:
    """Run `sft stage ARGUMENTS` if a bundled model is missing; raises SftError when it fails."""
    names = unstaged_models(configs)
    if not names:
        return
    print(f"staging        bundled model {', '.join(names)} (once)", file=output, flush=True)
    code = subprocess.run([sys.executable, "-m", "sftlib", "stage", *arguments], stdout=output, check=False).returncode
    if code:
        raise SftError(
            f"staging {', '.join(names)} failed (exit {code}): its message stands above; try `sft stage {arguments[0]}`"
        )
