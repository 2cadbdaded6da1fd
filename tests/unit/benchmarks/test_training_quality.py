"""The verdict on fast and plain training: what it lets pass and what it does not."""

from __future__ import annotations

import pytest

from benchmarks.training_quality import judge_pairs

PLAIN = [(0.30, 0.80), (0.32, 0.78), (0.31, 0.82)]


def found(fast: list[tuple[float, float]], exact: float = 0.3) -> list[dict]:
    rows = [{"dropout": 0.0, "training": name, "validation_loss": loss, "validation_F1": 0.8}
            for name, loss in (("plain", 0.3), ("fast", exact))]  # fmt: skip
    rows.append({"training": "none", "validation_loss": 0.5, "validation_F1": 0.7})
    for name, results in (("plain", PLAIN), ("fast", fast)):
        rows += [
            {"dropout": 0.1, "training": name, "validation_loss": loss, "validation_F1": f1} for loss, f1 in results
        ]
    return rows


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (found([(0.31, 0.79), (0.32, 0.80), (0.30, 0.81)]), True),
        (found([(0.36, 0.80), (0.37, 0.80), (0.35, 0.80)]), False),  # a loss that no seed of plain training has
        (found([(0.31, 0.70), (0.31, 0.72), (0.31, 0.71)]), False),  # an F1 likewise
        (
            [*found(PLAIN)[:2], {"training": "none", "validation_loss": 0.31, "validation_F1": 0.7}, *found(PLAIN)[3:]],
            False,
        ),
        (found(PLAIN, exact=0.3002), False),  # without dropout nothing may differ
        (found([(0.31, 0.65), (0.31, 0.80), (0.31, 0.95)]), False),  # within its noise, but one learnt next to nothing
    ],
)
def test_the_verdict(rows: list[dict], holds: bool) -> None:
    lines, ok = judge_pairs(rows, trivial=0.62)
    assert ok is holds and len(lines) == 5 and any("FAILS" in line for line in lines) is not holds
