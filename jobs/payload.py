"""An element in, the payload that its supervisor runs out: command, environment, image, and what its node must have."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import container
from jobs.attempts import Attempt
from jobs.container import Bind, Container
from jobs.nodecheck import NodeNeeds
from jobs.plan import MERGE, Element
from jobs.supervisor import EARLY_S, Supervisor
from sftlib.artifacts.host import DEVICE_VARIABLE
from sftlib.config.launch import STAGE_COMMAND
from sftlib.config.references import BUNDLED, get_key
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.errors import IMAGE_VARIABLE
from sftlib.paths import cache_dir, hub_cache

STAGE = ("-m", "sftlib")
# What would lead a stage to other code, or make it believe that something else had launched it.
_STRANGERS = ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PMI_RANK", "PMI_SIZE", "PMIX_RANK")
_HUB_KEYS = ("model.name_or_path", "model.tokenizer")
_ADAPTER = "lora.adapter"
_PATHS = (*_HUB_KEYS, "prompt.template_file", _ADAPTER)


@dataclass(frozen=True)
class Submission:
    """What is started, and with which code and image."""

    run: Run
    attempt: Attempt
    elements: Sequence[Element]
    config: SFTConfig
    code: Path
    image_sha256: str = ""
    command: Sequence[str] | None = None  # default: the stage, by the submit side's Python or the image's
    grace_s: float = 45.0
    stage_code: Path | None = None  # default: `code`, which the supervisor runs in any case
    staged: Sequence[str] = ()  # manifests of what was staged for it

    @property
    def stage_command(self) -> Sequence[str]:
        if self.command is not None:
            return self.command
        return STAGE_COMMAND if self.config.container.runtime == "none" else (container.PYTHON, *STAGE)


def supervisor(
    submission: Submission,
    element: Element,
    taken: Sequence[str | None] = (),
    driver: dict[str, Any] | None = None,
) -> Supervisor:
    """The payload of one element, on the devices `taken`. Without `driver` a scheduler is in charge, of devices too."""
    config, root = submission.config, submission.run.paths.root
    is_local = driver is not None
    return Supervisor(
        element=element.id,
        argv=[*submission.stage_command, *element.argv],
        env=element_environment(submission, taken, is_local=is_local),
        attempt_dir=str(submission.attempt.root),
        driver=driver,
        max_restarts=config.cluster.max_requeues,
        grace_s=submission.grace_s if is_local else max(submission.grace_s, config.cluster.signal_lead_s),
        nodes=element.nodes,
        processes=element.processes,
        container=_container(submission),
        folder=str(root),
        needs=None if is_local else _needs(submission, element),
        rendezvous=config.cluster.rendezvous,
        time_limit_s=None if is_local else element.resources.time_min * 60.0,
        lead_s=signal_lead_s(config, element.resources.time_min),
        exclude=tuple(config.cluster.exclude),
        staged=() if element.kind == MERGE else tuple(submission.staged),
    )


def signal_lead_s(config: SFTConfig, time_min: int) -> int:
    """Seconds before the walltime at which the stage is asked to stop; less where the walltime is short."""
    return min(config.cluster.signal_lead_s, max(20, (time_min * 60 - EARLY_S) // 2))


def _needs(submission: Submission, element: Element) -> NodeNeeds:
    resources = element.resources
    return NodeNeeds(
        gpus=resources.gpus or 0, memory_gb=resources.memory_gb, folders=(str(submission.run.paths.root),),
        scratch=submission.config.cluster.scratch, processes=element.processes,
    )  # fmt: skip


def _container(submission: Submission) -> Container | None:
    config = submission.config.container
    if config.runtime == "none":
        return None
    assert config.image is not None  # sftlib.config.checks
    cluster = submission.config.cluster
    return Container(
        runtime=config.runtime, image=config.image, sha256=submission.image_sha256,
        binds=tuple(binds(submission.run, submission.config)), is_home_mounted=config.home, gpu=config.gpu,
        passed_on=tuple(config.environment), staging=cluster.scratch if cluster.stage_image else None,
    )  # fmt: skip


def binds(run: Run, config: SFTConfig) -> list[Bind]:
    """What a stage reads and writes: its run directory, the cache, and data and model to look at; then the profile's."""
    root = str(run.paths.root)
    found = [Bind(root, root)]
    if cache_dir().is_dir():
        found.append(Bind(str(cache_dir()), str(cache_dir())))
    reads = sorted({path for path in _read_paths(run) if Path(path).exists()})
    outer = [bind.source for bind in found]
    found += [Bind(path, path, is_read_only=True) for path in reads if not _is_below(path, outer)]
    if _uses_hub(run) and hub_cache().is_dir() and not _is_below(str(hub_cache()), outer):
        found.append(Bind(str(hub_cache()), str(hub_cache()), is_read_only=True))
    if config.cluster.scratch:
        found.append(Bind(config.cluster.scratch, config.cluster.scratch))
    return [*found, *(Bind.parse(os.path.expandvars(text)) for text in config.container.binds)]


def _uses_hub(run: Run) -> bool:
    """Whether a model or tokenizer comes from the Hub's cache; else the host's cache is none of the run's business."""
    everywhere = ({key: get_key(run.record["config"], key) for key in _HUB_KEYS}, *_overrides(run))
    names = [values.get(key) for values in everywhere for key in _HUB_KEYS]
    return any(isinstance(name, str) and not name.startswith(("/", BUNDLED)) for name in names)


def _read_paths(run: Run) -> Iterator[str]:
    yield from (str(split["path"]) for split in run.inputs.values() if split["path"])
    for values in (run.record["config"], *_overrides(run)):
        for key in _PATHS:
            path = values.get(key) if key in values else get_key(values, key)
            if isinstance(path, str) and path.startswith("/") and not path.startswith(BUNDLED):
                yield path
    for cell in run.cells:  # beside the experiment, where the sweep names it so: only the cell's own file has it whole
        if cell.overrides.get(_ADAPTER) is not None:
            yield str(run.cell_config(cell.id).lora.adapter)


def _overrides(run: Run) -> Iterator[dict[str, Any]]:
    """Of each cell, by dotted key: a sweep may name other models."""
    return (cell.overrides for cell in run.cells)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def element_environment(
    submission: Submission, taken: Sequence[str | None], *, is_local: bool
) -> dict[str, str | None]:
    """What a stage finds in its environment besides what the node has."""
    config = submission.config
    names = ",".join(dict.fromkeys(name for name in taken if name is not None))
    # submitit sets this one to "" where it was asked for no device; None gives the driver's own absence back.
    devices = {DEVICE_VARIABLE: names or os.environ.get(DEVICE_VARIABLE)}
    inherits = is_local and config.container.runtime == "none"
    return {
        **dict.fromkeys(() if inherits else _STRANGERS),
        **code_environment(submission.stage_code or submission.code, inherits=inherits),
        "OMP_NUM_THREADS": str(config.train.threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "SFTLIB_CACHE": str(cache_dir()),
        **({"HF_HUB_CACHE": str(hub_cache())} if not inherits and _uses_hub(submission.run) else {}),
        **({IMAGE_VARIABLE: submission.image_sha256} if submission.image_sha256 else {}),
        **(devices if is_local else {}),
        **config.cluster.environment,
    }


def code_environment(code: Path, *, inherits: bool = True) -> dict[str, str]:
    """The frozen code comes first. Without the safe path `python -m` would put the current folder before it."""
    inherited = os.environ.get("PYTHONPATH") if inherits else None
    return {"PYTHONPATH": f"{code}{os.pathsep}{inherited}" if inherited else str(code), "PYTHONSAFEPATH": "1"}


def host_python(code: Path, *, inherits: bool) -> str:
    """The command by which submitit starts the supervisor: this Python, with the frozen code."""
    environment = [f"{name}={value}" for name, value in code_environment(code, inherits=inherits).items()]
    unset = [] if inherits else [word for name in _STRANGERS for word in ("-u", name)]
    return shlex.join(["env", *unset, *environment, sys.executable])
