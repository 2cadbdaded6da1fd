"""Scores turned into labels by a threshold: one fitted on validation and the plain one half, side by side. What a cell's
decision record says comes in, figures at each threshold go out. A threshold is never fitted on the test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sftlib.config.rundir import Run, read_json
from sftlib.errors import CorruptError
from sftlib.metrics.counts import NEGATIVE, POSITIVE
from sftlib.report.scheme import Scheme
from sftlib.report.tally import Tally
from sftlib.report.vocabulary import Codes, Vocabularies

HALF = 0.5  # of two labels the likelier one


@dataclass(frozen=True)
class Decision:
    """A threshold on the score of the positive label, and where it comes from."""

    threshold: float
    objective: str | None = None  # what it is best for, on validation
    fitted_on: int | None = None  # records
    is_used: bool = False  # the predictions themselves were made with it


class DecisionTally:
    """Outcomes at one threshold, added up. A record without a score keeps the outcome that it has."""

    def __init__(self, words: Vocabularies, decision: Decision) -> None:
        self.decision, self.tally = decision, Tally(words)

    def add(self, codes: Codes) -> None:
        called = np.where(codes.score >= self.decision.threshold, POSITIVE, NEGATIVE)
        self.tally.add(replace(codes, outcome=np.where(np.isnan(codes.score), codes.outcome, called)))

    def figures(self, scheme: Scheme) -> dict[str, Any]:
        decision = self.decision
        return {
            "threshold": decision.threshold, "objective": decision.objective, "fitted_on": decision.fitted_on,
            "is_used": decision.is_used,
            "overall": scheme.measure({"": self.tally.overall()})[""],
            "groups": {
                column: scheme.measure({key[0]: matrix for key, matrix in self.tally.by_group(column).items()}, intervals=False)
                for column in scheme.columns
            },
        }  # fmt: skip


def decisions_of(run: Run, cell: str) -> list[Decision]:
    """One half and the fitted threshold; nothing where none was fitted."""
    try:
        record = read_json(run.paths.cell(cell).decision)
    except CorruptError:
        return []
    found = fitted(record, is_used=run.cell_config(cell).predict.threshold != "argmax")
    return [Decision(HALF, is_used=not found.is_used), found] if found else []


def fitted(record: Any, *, is_used: bool) -> Decision | None:
    """The threshold that a decision record holds; None where it holds none."""
    if not isinstance(record, Mapping):
        return None
    threshold = record.get("threshold")
    about = threshold if isinstance(threshold, Mapping) else record
    value = about.get("threshold", about.get("value"))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    objective, count = about.get("objective"), about.get("records", about.get("n"))
    return Decision(float(value), objective, count if isinstance(count, int) else None, is_used)
