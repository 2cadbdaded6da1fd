"""What would be submitted, before anything is written: the arrays, their scripts, and what Slurm says to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.attempts import next_attempt
from jobs.freeze import frozen_code
from jobs.payload import Submission
from jobs.plan import Element
from jobs.slurm.arrays import Array, arrays_of, dependency
from jobs.slurm.queue import run
from jobs.slurm.requests import script
from jobs.slurm.submitting import explained
from sftlib.config.problems import Problem
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.paths import RunPaths


def preview(root: Path, config: SFTConfig, elements: Sequence[Element]) -> tuple[Submission, list[Array]]:
    """The next submission of a run directory that may not be there yet."""
    paths = RunPaths(root)
    nothing_run = Run(paths, config, [], {}, {"config": {}})
    submission = Submission(nothing_run, next_attempt(paths), elements, config, frozen_code(paths))
    cluster = config.cluster
    return submission, arrays_of(elements, cluster.max_array_size, cluster.max_submit)


def scripts(submission: Submission, arrays: Sequence[Array]) -> Iterator[tuple[Array, str]]:
    """Each sbatch script as it would be; `@train-0001` stands for the job id that Slurm will give."""
    job_ids: dict[str, str] = {}
    for array in arrays:
        yield array, script(submission, array, dependency(array.first, job_ids))
        job_ids |= array.job_ids(f"@{array.name}")


def problems(root: Path, config: SFTConfig, elements: Sequence[Element]) -> Iterator[Problem]:
    """What Slurm would refuse, asked with `sbatch --test-only`; nothing where there is no Slurm to ask."""
    yield from _path_problems(root)
    if shutil.which("sbatch") is None:
        return
    submission, arrays = preview(root, config, elements)
    largest: dict[tuple[object, ...], Array] = {}
    for array in arrays:
        likeness = (array.first.setting, array.first.nodes, array.first.resources.model_dump_json())
        if likeness not in largest or len(array.elements) > len(largest[likeness].elements):
            largest[likeness] = array
    refused: dict[str, list[str]] = {}
    for array in largest.values():
        if why := _refusal(submission, array):
            refused.setdefault(why, []).append(array.first.setting)
    for why, settings in refused.items():
        yield Problem("cluster" if len(set(settings)) > 1 else settings[0], why, place="sbatch --test-only")


def _path_problems(root: Path) -> Iterator[Problem]:
    """PYTHONPATH is cut at colons, and Slurm fills in %j and its like."""
    for mark in ":%\n":
        if mark in str(root):
            yield Problem("--runs-dir", f"a run directory on Slurm cannot have {mark!r} in its path", str(root))


def _refusal(submission: Submission, array: Array) -> str:
    """Slurm's words, or "". On hold it would not look at what the nodes have: so without."""
    text = script(submission, array, None).replace("#SBATCH --hold\n", "")
    text = text.replace(f"#SBATCH --chdir={_chdir(text)}\n", "")
    with tempfile.NamedTemporaryFile("w", suffix=".sh", prefix="sft-plan-") as file:
        file.write(text)
        file.flush()
        done = run("sbatch", "--test-only", file.name)
    return explained(done.stderr) if done.returncode else ""


def _chdir(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("#SBATCH --chdir=")).partition("=")[2]
