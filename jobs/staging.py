"""The bundled model made ready before anything needs it: `sft stage` as a process of its own, where it was not run yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError


def unstaged_models(configs: Iterable[SFTConfig]) -> list[str]:
    """Names of bundled models that are not in the cache."""
    given = dict.fromkeys(config.model.name_or_path for config in configs)
    names = [name.removeprefix(BUNDLED) for name in given if name.startswith(BUNDLED)]
    return [name for name in names if not (bundled_model(name) / "config.json").exists()]


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
