"""`sft rerun --verify`: a finished run repeated from its receipt beside it, and what of it came out equal, and why not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.attempts import all_attempts
from jobs.chain import Chain, run_chain
from jobs.differences import differences_after, differences_before
from jobs.missing import find_missing
from sftlib.artifacts.atomic import write_json
from sftlib.config.rundir import Run, open_run, read_json
from sftlib.errors import DONE, FAILED, IncompleteError, SftError
from sftlib.paths import RunPaths

# What processes that add up in another order may change. A single process is expected to repeat bit for bit.
NOISE_LABELS, NOISE_SCORE = 0.02, 0.05


@dataclass(frozen=True)
class Verdict:
    """What is said of one cell."""

    cell: str
    adapter: str
    predictions: str
    is_good: bool


def verify(chain: Chain, as_json: bool) -> int:
    """Repeat `chain.run`; exit 0 when all is equal or within the stated noise, 1 when it is not."""
    original, say = chain.run, chain.screen.say
    if not find_missing(original, deep=True).is_nothing:
        raise IncompleteError(
            f"{original.paths.root} is not finished, or damaged: `sft rerun {original.paths.typed}` first"
        )
    before = list(differences_before(original, chain.config))
    for difference in before:
        say(f"differs        {difference.words}")
    if any(difference.is_in_the_way for difference in before):
        say("cannot be repeated: stages refuse data that is not the run's")
        return _told(as_json, original, None, {}, [d.words for d in before], FAILED)
    repeated = _prepare(original)
    outcome = run_chain(replace(chain, run=repeated, stage_code=_code_of(original, repeated), is_waiting=True))
    if outcome.code != DONE:
        raise SftError(
            f"the repetition did not come to its end (exit {outcome.code}): {repeated.paths.root} has its logs"
        )
    found = _compare(original, repeated)
    verdicts = [_verdict(original, name, cell) for name, cell in found.items()]
    causes = [d.words for d in [*before, *differences_after(original, repeated)]]
    for line in _lines(verdicts, causes, repeated):
        say(line)
    code = DONE if all(verdict.is_good for verdict in verdicts) else FAILED
    return _told(as_json, original, repeated, found, causes, code)


def _told(
    as_json: bool, original: Run, repeated: Run | None, found: Mapping[str, Any], causes: list[str], code: int
) -> int:
    record = {
        "run_dir": str(original.paths.root), "repeated": str(repeated.paths.root) if repeated else None,
        "cells": found, "differences": causes, "exit_code": code,
    }  # fmt: skip
    if repeated:
        write_json(repeated.paths.verified, record)
    if as_json:
        print(json.dumps(record, indent=2))
    return code


def _prepare(original: Run) -> Run:
    """A run directory of its own with the settings of the first, whatever the experiment file says today."""
    number = 1
    while (root := Path(f"{original.paths.root}.verify-{number:03d}")).exists():
        number += 1
    paths = RunPaths(root)
    for cell in original.cells:
        write_json(paths.cell(cell.id).config, read_json(original.paths.cell(cell.id).config))
    write_json(paths.record, original.record)
    return open_run(root)


def _code_of(original: Run, repeated: Run) -> Path:
    """The source that the run was made with, copied over."""
    attempts = [attempt for attempt in all_attempts(original.paths) if attempt.spec.exists()]
    name = str(read_json(attempts[-1].spec)["code"])
    target = repeated.paths.jobs / name
    shutil.copytree(original.paths.jobs / name, target)
    return target


def _compare(original: Run, repeated: Run) -> dict[str, Any]:
    """By a process of the run side: weights and tables are not read here."""
    command = [sys.executable, "-m", "sftlib", "repeat", str(original.paths.root), str(repeated.paths.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SftError(f"the two runs could not be compared: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def _verdict(original: Run, name: str, found: Mapping[str, Any]) -> Verdict:
    strategy = original.cell_config(name).parallel
    is_exact = strategy.world_size == 1
    adapter, is_adapter_good = _of_adapter(found["adapter"], is_exact)
    predictions, are_good = _of_predictions(found["predictions"], is_exact, strategy.strategy)
    return Verdict(name, adapter, predictions, is_adapter_good and are_good)


def _of_adapter(found: Mapping[str, Any] | None, is_exact: bool) -> tuple[str, bool]:
    if found is None:
        return "no adapter", True
    if found["equal"]:
        return "adapter equal bit for bit", True
    if found["max_difference"] is None:
        return "adapter of another shape", False
    return f"adapter differs by at most {found['max_difference']:.2g}", not is_exact


def _of_predictions(found: Mapping[str, Any], is_exact: bool, strategy: str) -> tuple[str, bool]:
    rows, differ, score = found["rows"], found["labels_differ"], found["max_score_difference"]
    if found["equal"]:
        return f"{rows} predictions equal bit for bit", True
    if differ is None:
        return "predictions of other records", False
    words = f"{differ} of {rows} labels differ" + (f", scores by at most {score:.2g}" if score is not None else "")
    is_near = differ <= NOISE_LABELS * rows and (score or 0.0) <= NOISE_SCORE
    if is_exact or not is_near:
        return words, False
    return f"{words}: within the stated noise of {strategy} ({NOISE_LABELS:.0%} of labels, scores {NOISE_SCORE})", True


def _lines(verdicts: list[Verdict], causes: list[str], repeated: Run) -> Iterator[str]:
    width = max(len(verdict.cell) for verdict in verdicts)
    yield ""
    for verdict in verdicts:
        yield f"  {verdict.cell:<{width}}  {verdict.adapter}; {verdict.predictions}"
    is_good = all(verdict.is_good for verdict in verdicts)
    if causes:
        yield "\nwhat was not as then" + (":" if is_good else ", and may be the cause:")
        yield from (f"  {cause}" for cause in causes)
    elif not is_good:
        yield "\nnothing that is recorded was other than then: the work itself does not repeat on this hardware"
    yield f"\n{'verified' if is_good else 'DIFFERS'}  {repeated.paths.root}"
