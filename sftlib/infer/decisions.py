"""What turns scores into labels besides the model: a correction of label priors and a threshold. Both are fitted off the
test set, once a cell, and stand in its `decision.json`; every shard is decided by that file."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sftlib.artifacts.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, share, sync
from sftlib.artifacts.claims import take_claim
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import say
from sftlib.artifacts.receipt import stage_receipt
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import InputError
from sftlib.infer.answers import Answer, scored_answer
from sftlib.metrics.thresholds import fit_threshold

SCHEMA_VERSION = 1
CONTENT_FREE = ("N/A", "[MASK]", "-")  # texts that say nothing: what a model answers them is its prior
_POLL_S = 0.5


@dataclass(frozen=True)
class Decision:
    """How a cell's scores become labels."""

    label_shifts: list[float] | None = None  # taken off each label's log-likelihood
    threshold: float | None = None  # on the probability of the positive label; None: the likeliest label
    digest: str | None = None  # of what stands in decision.json

    def decide(self, answer: Answer, config: SFTConfig) -> Answer:
        """The answer under this decision; `label_logprobs` stay as the model gave them."""
        task = config.task
        if answer.label_logprobs is None or self.digest is None:
            return answer
        shifts = self.label_shifts or [0.0] * len(task.labels)
        corrected = [a - b for a, b in zip(answer.label_logprobs, shifts, strict=True)]
        decided = scored_answer(corrected, task)
        if self.threshold is not None and decided.score is not None:
            _, best = max(
                (value, label) for value, label in zip(corrected, task.labels, strict=True) if label != task.positive
            )
            decided = replace(decided, prediction=task.positive if decided.score >= self.threshold else best)
        return replace(decided, label_logprobs=answer.label_logprobs)


def is_fitted(config: SFTConfig) -> bool:
    return config.predict.calibrate != "none" or config.predict.threshold != "argmax"


def settle_decision(
    run: Run, cell: str, parts: dict[str, str | None], score: Callable[[list[Sample]], list[Answer]]
) -> Decision:
    """The cell's decision: read where a valid one stands, else fitted by one process while the others wait."""
    config = run.cell_config(cell)
    if not is_fitted(config):
        return Decision()
    path = run.paths.cell(cell).decision
    parts = _fitted_with(run, parts)
    while (found := _read(path, parts)) is None:
        # Beyond the last shard: the place whose claim stands for the fit.
        claim = take_claim(run.paths.cell(cell), run.num_shards, run.num_shards)
        if claim is None:
            time.sleep(_POLL_S)
            continue
        try:
            if _read(path, parts) is None:
                _publish(path, {"schema_version": SCHEMA_VERSION, "cell": cell, "parts": parts, **_fit(run, config, score),
                                "receipt": stage_receipt()})  # fmt: skip
        finally:
            claim.release()
    return found


def standing_decision(run: Run, cell: str, parts: dict[str, str | None]) -> Decision | None:
    """The cell's decision where nothing has to be fitted for it; None where it has not been fitted yet."""
    if not is_fitted(run.cell_config(cell)):
        return Decision()
    return _read(run.paths.cell(cell).decision, _fitted_with(run, parts))


def _fitted_with(run: Run, parts: dict[str, str | None]) -> dict[str, str | None]:
    """What a fit depends on: everything that shapes a score but the test set, and the records it is fitted on."""
    return {**parts, "test": None, "validation": run.inputs.get("validation", {}).get("sha256")}


def _fit(run: Run, config: SFTConfig, score: Callable[[list[Sample]], list[Answer]]) -> dict[str, Any]:
    split = run.split(config, "validation" if "validation" in run.inputs else "train")
    samples = samples_of(split, config)
    kind, fitted = config.predict.calibrate, Decision(digest="fitting")
    calibration = None
    if kind != "none":
        chosen = samples if kind == "batch" else content_free(samples[0], split.records[0].fields, config)
        known = [answer.label_logprobs for answer in score(chosen) if answer.label_logprobs is not None]
        if not known:
            raise _no_numbers("calibrate", kind)
        shifts = _log_prior(known)
        fitted = replace(fitted, label_shifts=shifts)
        calibration = {"kind": kind, "label_shifts": shifts, "labels": config.task.labels, "records": len(known)}
    threshold = None
    if config.predict.threshold != "argmax":
        answers = [fitted.decide(answer, config) for answer in score(samples)]
        threshold = _threshold(config, samples, answers)
        say(f"threshold {threshold['value']:.4f} on the score of {config.task.positive!r}, best {threshold['objective']} "
            f"({threshold['objective_value']:.3f}) on {threshold['records']} validation records")  # fmt: skip
    return {"calibration": calibration, "threshold": threshold}


def _threshold(config: SFTConfig, samples: Sequence[Sample], answers: Sequence[Answer]) -> dict[str, Any]:
    rows = [
        (s.gold == config.task.positive, a.score)
        for s, a in zip(samples, answers, strict=True)
        if s.gold is not None and a.score is not None
    ]
    if not any(answer.score is not None for answer in answers):
        raise _no_numbers("threshold", config.predict.threshold)
    # The positive class has code 0 (metrics/counts.py): with 1 the threshold would be the best one for the other label.
    fit = fit_threshold([int(not gold) for gold, _ in rows], [score for _, score in rows], config.predict.threshold)
    if fit.threshold is None:
        raise InputError(
            f"predict.threshold = {config.predict.threshold!r}: the validation records hold "
            f"{sum(gold for gold, _ in rows)} of {len(rows)} records of {config.task.positive!r}, from which none can be "
            f"fitted: give validation records of both kinds, or set argmax"
        )
    return {"value": fit.threshold, "objective": fit.objective, "objective_value": fit.value, "records": len(rows)}


def _no_numbers(key: str, value: str) -> InputError:
    return InputError(f"predict.{key} = {value!r}: the model's scores are no numbers: look at its training")


def content_free(sample: Sample, fields: dict[str, Any], config: SFTConfig) -> list[Sample]:
    """The sample's prompt with texts that say nothing in place of its own."""
    own = fields.get(config.data.text_column)
    if not isinstance(own, str) or not any(own in message["content"] for message in sample.messages):
        own = sample.messages[-1]["content"]
    *before, last = sample.messages
    return [
        replace(sample, messages=[*before, {**last, "content": last["content"].replace(own, text)}])
        for text in CONTENT_FREE
    ]


def _log_prior(rows: Sequence[Sequence[float]]) -> list[float]:
    """The logarithm of each label's mean probability among the labels."""
    means = [0.0] * len(rows[0])
    for logprobs in rows:
        top = max(logprobs)
        weights = [math.exp(value - top) for value in logprobs]
        for at, weight in enumerate(weights):
            means[at] += weight / sum(weights) / len(rows)
    return [math.log(max(mean, 1e-12)) for mean in means]


def _read(path: Path, parts: dict[str, str | None]) -> Decision | None:
    """The decision that stands there, if it was fitted with these very things."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["parts"] != parts or value["schema_version"] != SCHEMA_VERSION:
            return None
        shifts = value["calibration"] and value["calibration"]["label_shifts"]
        threshold = value["threshold"] and value["threshold"]["value"]
        return Decision(shifts, threshold, sha256_value([shifts, threshold]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _publish(path: Path, value: dict[str, Any]) -> None:
    """Put it in place unless somebody was faster: all shards must be decided by one file."""
    path.unlink(missing_ok=True)  # of another adapter or other settings
    handle, name = tempfile.mkstemp(TEMPORARY_SUFFIX, f"{TEMPORARY_PREFIX}{path.name}.", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=2)
        share(temporary)
        sync(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        sync(path.parent)
    finally:
        temporary.unlink()
