"""Baselines that read nothing: class sizes come in, the metrics of always positive, always negative and of guessing at
the prior go out. A model that does not beat them has not been shown to do anything."""

from __future__ import annotations

import math

import numpy as np

from sftlib.metrics.counts import Counts, none_if_nan, rates
from sftlib.metrics.formulas import BINARY


def always_positive(n_positive: int, n_negative: int) -> Counts:
    """Outcomes of answering positive whatever is asked."""
    return Counts(tp=n_positive, fp=n_negative)


def always_negative(n_positive: int, n_negative: int) -> Counts:
    """Outcomes of answering negative whatever is asked."""
    return Counts(fn=n_positive, tn=n_negative)


def prior_rates(n_positive: int, n_negative: int, prior: float | None = None) -> dict[str, float | None]:
    """Guessing positive with probability `prior`: rates of the expected cells, and the scores of a constant.

    `prior` is the share of positives in training; without it the share in this very set is taken, which flatters.
    Rates of expected cells are not quite expected rates (F1 is not linear), but differ by less than 1/n.
    """
    n = n_positive + n_negative
    if n == 0:
        return dict.fromkeys([*BINARY, "brier", "log_loss", "auroc"])
    base_rate = n_positive / n
    share = base_rate if prior is None else prior
    if not 0 <= share <= 1:
        raise ValueError(f"prior is {share}; expected the share of positives, 0 to 1")
    cells = np.outer([n_positive, n_negative], [share, 1 - share, 0.0])
    result = {name: none_if_nan(formula(cells)) for name, formula in BINARY.items()}
    one_class = n_positive == 0 or n_negative == 0
    return result | {
        "brier": base_rate * (1 - share) ** 2 + (1 - base_rate) * share**2,
        "log_loss": _cross_entropy(base_rate, share),
        "auroc": None if one_class else 0.5,
    }


def trivial_baselines(
    n_positive: int, n_negative: int, prior: float | None = None
) -> dict[str, dict[str, int | float | None]]:
    """All three, by name."""
    return {
        "always_positive": rates(always_positive(n_positive, n_negative)),
        "always_negative": rates(always_negative(n_positive, n_negative)),
        "prior": {**prior_rates(n_positive, n_negative, prior)},
    }


def _cross_entropy(base_rate: float, share: float) -> float | None:
    """Log loss of a constant; None where it is infinite, for a class that the prior rules out but that occurs."""
    terms = ((base_rate, share), (1 - base_rate, 1 - share))
    if any(weight > 0 and given == 0 for weight, given in terms):
        return None
    return sum(-weight * math.log(given) for weight, given in terms if weight > 0)
