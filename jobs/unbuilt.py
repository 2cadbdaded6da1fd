"""What the command line and the configuration already name and a later issue builds; empty when all are resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sftlib.config.tree import SFTConfig
from sftlib.errors import SftError

_TRAIN = "training"

# Setting -> (the issue that builds it, whether an experiment asks for it). Never ignore a setting in silence.
_SETTINGS: dict[str, tuple[str, Callable[[SFTConfig], bool]]] = {}
UNBUILT = {what: issue for what, (issue, _) in _SETTINGS.items()}


def not_built(what: str) -> SftError:
    """The error that says so in one line."""
    return SftError(f"{what!r} is not built yet (issue: {UNBUILT[what]})")


def refuse_unbuilt(configs: Iterable[SFTConfig]) -> None:
    """Raise for the first thing that one of these asks for and no stage does yet."""
    for config in configs:
        for what, (_, is_asked_for) in _SETTINGS.items():
            if is_asked_for(config):
                raise not_built(what)
