"""What became of a training, from its curves: loss, evaluation loss, gradient norm, learning rate in, a verdict out.

Every rule is a statistic with a threshold that stands here by name. Noise is measured on the curve itself: the median of
its absolute second differences, which a steady trend does not enter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

Curve = Sequence[tuple[float, float]]

CONVERGED, FALLING, DIVERGED, OVERFITTING, TOO_SHORT = (
    "converged", "still falling", "diverged", "overfitting", "too short",
)  # fmt: skip
SPIKY = "spiky gradients"

FEWEST = 8  # logged values: fewer say nothing about a trend
FEWEST_EVALUATIONS = 4
NOISES = 4.0  # standard deviations of the mean that a rise must exceed
LOST = 0.5  # share of the loss's fall that, when lost again, is divergence
RISE = 0.01  # of the lowest evaluation loss: less is no overfitting
LATER = 2  # evaluations that must lie behind the lowest one, and be above it
TAIL = 1 / 3  # of the values, the part whose trend is tested
TREND = 2.33  # of a standard normal (one-sided 1%) that Mann and Kendall's statistic must exceed
WORTH = 0.01  # of the loss: a fall over the tail below this is not worth going on for
SPIKE = 5.0  # times the median of the values around it
SPIKES, SPIKY_SHARE = 3, 0.01  # as many spikes, and as large a share of all values
_MOST_TESTED = 300  # values of the tail; a longer one is averaged to as many


@dataclass(frozen=True)
class Verdict:
    """What it came to, in a word, a sentence, and the figures behind both."""

    verdict: str
    sentence: str
    since_step: float | None = None  # where the evaluation loss was lowest, or the first loss that is no number stands
    flags: list[str] = field(default_factory=list)
    figures: dict[str, float | None] = field(default_factory=dict)
    spikes: list[float] = field(default_factory=list)  # steps

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(curves: Mapping[str, Curve]) -> Verdict:
    """The verdict on curves named loss, eval_loss, grad_norm and learning_rate, as far as they are there."""
    loss, evaluated = curves.get("loss", ()), curves.get("eval_loss", ())
    spikes = spike_steps(curves.get("grad_norm", ()))
    flags = [SPIKY] if spikes else []
    for found in (_not_a_number(loss), _not_a_number(evaluated)):
        if found is not None:
            return Verdict(DIVERGED, f"the loss is no number from step {found:g} on", found, flags, spikes=spikes)
    if len(loss) < FEWEST and len(evaluated) < FEWEST:
        words = f"{max(len(loss), len(evaluated))} logged values; a verdict needs {FEWEST} (train.logging_steps)"
        return Verdict(TOO_SHORT, words, None, flags, spikes=spikes)
    series = loss if len(loss) >= FEWEST else evaluated
    figures = _figures(series, evaluated)
    verdict = _diverged(figures) or _overfitting(loss, evaluated) or _falling(_judged(loss, evaluated), curves)
    kind, sentence, since = verdict or (CONVERGED, _converged_words(figures), None)
    if flags:
        share = len(spikes) / len(curves["grad_norm"])
        sentence += (
            f"; spiky gradients: {len(spikes)} norms ({100 * share:.1f}%) above {SPIKE:g} times their surroundings"
        )
    return Verdict(kind, sentence, since, flags, figures, spikes)


def _not_a_number(curve: Curve) -> float | None:
    return next((step for step, value in curve if not math.isfinite(value)), None)


def _judged(loss: Curve, evaluated: Curve) -> Curve:
    """The evaluation loss speaks for what is wanted, where there is enough of it."""
    return evaluated if len(evaluated) >= 2 * FEWEST else loss if len(loss) >= FEWEST else evaluated


def _figures(curve: Curve, evaluated: Curve) -> dict[str, float | None]:
    values = np.array([value for _, value in curve])
    edge = max(3, len(values) // 20)
    smooth = smoothed(values)
    noise = noise_of(values)
    lowest = min(evaluated, key=lambda point: point[1])[1] if evaluated else None
    return {
        "first": float(np.median(values[:edge])), "last": float(np.median(values[-edge:])),
        "lowest": float(smooth.min()), "noise": noise, "error_of_last": noise / math.sqrt(edge),
        "lowest_eval_loss": lowest, "last_eval_loss": evaluated[-1][1] if evaluated else None,
    }  # fmt: skip


def smoothed(values: Any) -> Any:
    """The running mean of a window that grows with the curve; the ends use what there is of it."""
    half = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def noise_of(values: Any) -> float:
    """The standard deviation around the trend: second differences have sqrt(6) of it, and no trend."""
    if len(values) < 3:
        return 0.0
    return float(1.4826 * np.median(np.abs(np.diff(values, n=2))) / math.sqrt(6))


def _diverged(figures: Mapping[str, float | None]) -> tuple[str, str, float | None] | None:
    first, last, lowest = (float(figures[name] or 0.0) for name in ("first", "last", "lowest"))
    sure = NOISES * float(figures["error_of_last"] or 0.0)
    if last - lowest <= max(sure, RISE * abs(lowest)):
        return None
    if last > first + sure:
        return DIVERGED, f"the loss ends at {last:.4g}, above where it began ({first:.4g})", None
    if last - lowest > LOST * (first - lowest):
        return DIVERGED, f"the loss fell from {first:.4g} to {lowest:.4g} and ends at {last:.4g}", None
    return None


def _overfitting(loss: Curve, evaluated: Curve) -> tuple[str, str, float | None] | None:
    """The evaluation loss has a lowest point behind it, while the training loss went on falling."""
    if len(evaluated) < FEWEST_EVALUATIONS:
        return None
    values = np.array([value for _, value in evaluated])
    lowest = int(values.argmin())
    behind = values[lowest + 1 :]
    rise = max(RISE * abs(values[lowest]), 2.0 * noise_of(values))
    # The last evaluations lie above together: one alone may be noise.
    if len(behind) < LATER or float(np.min(behind[-LATER:])) - values[lowest] <= rise:
        return None
    step = evaluated[lowest][0]
    before = [value for at, value in loss if at <= step][-10:]
    after = [value for _, value in loss[-10:]]
    if before and np.median(after) > np.median(before):
        return None  # both rise: that is no overfitting
    words = f"the evaluation loss was lowest at step {step:g} ({values[lowest]:.4g}) and ends at {values[-1]:.4g}"
    return OVERFITTING, words, step


def _falling(curve: Curve, curves: Mapping[str, Curve]) -> tuple[str, str, float | None] | None:
    """Mann and Kendall's test of the last third, and whether what is still gained is worth it."""
    points = np.array(curve[-max(FEWEST, round(len(curve) * TAIL)) :])
    steps, values = _averaged(points[:, 0]), _averaged(points[:, 1])
    rise = slope(steps, values) * (steps[-1] - steps[0])
    level = abs(float(np.median(values))) or 1.0
    if trend(values) > -TREND or -rise < WORTH * level:
        return None
    # Told as a share of where the tail began: the fall of a steep one is more than its median.
    name = "evaluation loss" if curve is curves.get("eval_loss") else "loss"
    words = f"the {name} fell by {-rise:.3g} ({100 * -rise / max(level, abs(float(values[0]))):.1f}%) over the last {len(points)} logged values"
    rates = [value for _, value in curves.get("learning_rate", ())]
    if rates and max(rates) > 0 and rates[-1] < 0.05 * max(rates):
        words += "; the learning rate has run out: train longer, or with a higher rate"
    else:
        words += ": train longer"
    return FALLING, words, None


def _converged_words(figures: Mapping[str, float | None]) -> str:
    return f"the loss fell from {figures['first']:.4g} to {figures['last']:.4g} and has no trend over its last third"


def _averaged(values: Any) -> Any:
    """At most _MOST_TESTED means of neighbours."""
    if len(values) <= _MOST_TESTED:
        return values
    return np.array([part.mean() for part in np.array_split(values, _MOST_TESTED)])


def trend(values: Any) -> float:
    """Mann and Kendall's statistic as a standard normal: below zero where later values tend to be lower."""
    count = len(values)
    signs = np.sign(values[None, :] - values[:, None])[np.triu_indices(count, 1)].sum()
    variance = count * (count - 1) * (2 * count + 5) / 18
    return float((signs - np.sign(signs)) / math.sqrt(variance))


def slope(steps: Any, values: Any) -> float:
    """Theil and Sen's: the median of the slopes of all pairs."""
    rows, columns = np.triu_indices(len(values), 1)
    return float(np.median((values[columns] - values[rows]) / (steps[columns] - steps[rows])))


def spike_steps(curve: Curve) -> list[float]:
    """Steps whose gradient norm is SPIKE times the median around it; none where they are too few to matter."""
    values = np.array([value for _, value in curve])
    if len(values) < FEWEST:
        return []
    half = max(5, len(values) // 20)
    found = []
    for place, (step, value) in enumerate(curve):
        around = values[max(0, place - half) : place + half + 1]
        if not math.isfinite(value) or value > SPIKE * float(np.nanmedian(around)):
            found.append(step)
    return found if len(found) >= max(SPIKES, SPIKY_SHARE * len(values)) else []
