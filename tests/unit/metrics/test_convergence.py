"""The verdict on synthetic curves of each kind, over many seeds and lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sftlib.metrics.convergence import (
    CONVERGED,
    DIVERGED,
    FALLING,
    OVERFITTING,
    SPIKY,
    TOO_SHORT,
    judge,
    noise_of,
    spike_steps,
    trend,
)

SEEDS = range(25)


def curve(values, every: int = 10) -> list[tuple[float, float]]:
    return [(float(every * (i + 1)), float(value)) for i, value in enumerate(values)]


def settled(rng, count: int, noise: float = 0.05):
    """Falls from 2.5 to 0.8 within the first quarter, then stays."""
    x = np.linspace(0, 1, count)
    return 0.8 + 1.7 * np.exp(-x * 24) + rng.normal(0, noise, count)


def falling(rng, count: int, noise: float = 0.05):
    return 2.5 - 1.2 * np.linspace(0, 1, count) + rng.normal(0, noise, count)


def share(kind: str, make, count: int) -> float:
    """How often the verdict on `make(rng)` is this kind."""
    return sum(judge(make(np.random.default_rng(seed), count)).verdict == kind for seed in SEEDS) / len(SEEDS)


@pytest.mark.parametrize("count", [40, 120, 1000])
@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
def test_converged(count: int, noise: float) -> None:
    assert share(CONVERGED, lambda rng, n: {"loss": curve(settled(rng, n, noise))}, count) >= 0.95


@pytest.mark.parametrize("count", [30, 120, 1000])
def test_still_falling(count: int) -> None:
    assert share(FALLING, lambda rng, n: {"loss": curve(falling(rng, n))}, count) >= 0.95
    told = judge(
        {"loss": curve(falling(np.random.default_rng(0), count)), "learning_rate": curve(np.linspace(1, 0, count))}
    )
    assert "learning rate has run out" in told.sentence


@pytest.mark.parametrize("count", [40, 120, 1000])
def test_diverged_after_a_good_start(count: int) -> None:
    def make(rng, n):
        values = settled(rng, n)
        values[n * 3 // 4 :] += np.linspace(0.5, 6, n - n * 3 // 4)
        return {"loss": curve(values)}

    assert share(DIVERGED, make, count) == 1.0


def test_diverged_from_the_first_step() -> None:
    assert share(DIVERGED, lambda rng, n: {"loss": curve(2 + np.linspace(0, 5, n) + rng.normal(0, 0.1, n))}, 60) == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number(wrong: float) -> None:
    values = settled(np.random.default_rng(0), 60)
    values[41:] = wrong
    verdict = judge({"loss": curve(values)})
    assert (verdict.verdict, verdict.since_step) == (DIVERGED, 420.0)


def overfitted(rng, n: int):
    steps = np.linspace(0, 1, 12)
    evaluated = 1.0 + 2 * (steps - 0.42) ** 2 + rng.normal(0, 0.005, 12)
    return {
        "loss": curve(falling(rng, n, 0.03)),
        "eval_loss": [(n * 10 * s, float(v)) for s, v in zip(steps, evaluated, strict=True)],
    }


def test_overfitting_since_a_step() -> None:
    assert share(OVERFITTING, overfitted, 120) == 1.0
    verdict = judge(overfitted(np.random.default_rng(1), 120))
    assert verdict.since_step == pytest.approx(0.42 * 1200, abs=0.1 * 1200)
    assert "lowest at step" in verdict.sentence


def test_an_evaluation_loss_that_only_wavers_is_no_overfitting() -> None:
    def make(rng, n):
        return {"loss": curve(settled(rng, n)), "eval_loss": curve(0.9 + rng.normal(0, 0.004, 12), 100)}

    assert share(CONVERGED, make, 120) >= 0.95


def test_one_bad_last_evaluation_is_no_overfitting() -> None:
    evaluated = [1.4, 1.2, 1.1, 1.05, 1.0, 1.0, 1.3]
    verdict = judge({"loss": curve(settled(np.random.default_rng(2), 100)), "eval_loss": curve(evaluated, 100)})
    assert verdict.verdict == CONVERGED


@pytest.mark.parametrize("count", [60, 600])
def test_spiky_gradients(count: int) -> None:
    rng = np.random.default_rng(3)
    norms = np.exp(rng.normal(0, 0.3, count))
    assert spike_steps(curve(norms)) == []
    struck = rng.choice(count, max(4, count // 40), replace=False)
    norms[struck] *= 30
    verdict = judge({"loss": curve(settled(rng, count)), "grad_norm": curve(norms)})
    assert verdict.flags == [SPIKY] and verdict.verdict == CONVERGED and "spiky" in verdict.sentence
    assert set(verdict.spikes) == {10.0 * (place + 1) for place in struck}


def test_a_warm_up_of_large_norms_is_no_spike() -> None:
    norms = 1 + 40 * np.exp(-np.arange(300) / 12) + np.random.default_rng(4).uniform(0, 0.2, 300)
    assert spike_steps(curve(norms)) == []


def test_too_short() -> None:
    assert judge({"loss": curve([2.0, 1.0, 0.9])}).verdict == TOO_SHORT
    assert judge({}).verdict == TOO_SHORT


def test_noise_is_measured_around_the_trend_and_the_trend_by_rank() -> None:
    rng = np.random.default_rng(5)
    assert noise_of(np.linspace(9, 1, 2000) + rng.normal(0, 0.2, 2000)) == pytest.approx(0.2, rel=0.1)
    statistics = [trend(np.random.default_rng(seed).normal(0, 1, 60)) for seed in range(400)]
    assert abs(np.mean(statistics)) < 0.15 and np.std(statistics) == pytest.approx(1, rel=0.12)
