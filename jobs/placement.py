"""Where elements are to run: image, binds, staging and Slurm looked at beforehand; and a finished run's sections laid anew
under another cluster profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jobs import imagecheck
from jobs.plan import Element
from jobs.staging import staging_problems
from sftlib.config.checks import check_tree
from sftlib.config.layers import collect, collect_profile
from sftlib.config.load import parse
from sftlib.config.overrides import settings
from sftlib.config.problems import ConfigError, Problem
from sftlib.config.references import resolve
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig

SECTIONS = ("cluster", "container")  # where it runs; all others shape what comes out


def check_placement(root: Path, config: SFTConfig, cells: Iterable[SFTConfig], elements: Sequence[Element]) -> None:
    """Image, binds, what was staged, and what Slurm would refuse; raises ConfigError with all of it."""
    is_slurm = config.cluster.scheduler == "slurm"
    problems = list(imagecheck.problems(config))
    problems += staging_problems(cells, is_offline=is_slurm)
    if is_slurm:
        from jobs.slurm import preview

        problems += preview.problems(root, config, elements)
    if problems:
        raise ConfigError(problems)


def placed(run: Run, profile: str, say: Callable[[str], None]) -> SFTConfig:
    """The run's settings with `cluster` and `container` as its experiment file and this profile say them together."""
    path, receipt = Path(run.record["experiment"]), run.record["receipt"] or {}
    if path.is_file():
        layers = collect(path, settings(path, receipt.get("settings") or []), profile)
    else:
        say(f"{path} is gone: only the profile says where this runs")
        layers = collect_profile(profile, Path.cwd())
    values, problems = resolve(layers.values, path.parent)
    recorded = {name: value for name, value in run.config.to_dict().items() if name not in SECTIONS}
    laid = {name: values[name] for name in SECTIONS if name in values}
    config, type_problems = parse({**recorded, **laid}, layers.place)
    found = [*layers.problems, *problems, *type_problems, *(check_tree(config) if config else ())]
    if about := [problem for problem in found if problem.key.partition(".")[0] in SECTIONS]:
        raise ConfigError([Problem(p.key, p.message, p.value, p.place or layers.place(p.key)) for p in about])
    assert config is not None
    for name in collect_profile(profile, path.parent).values.keys() - {*SECTIONS}:
        say(f"section {name} of {profile} is not taken: it shapes results, and `sft run` makes a new run of it")
    return config
