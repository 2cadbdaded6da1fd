"""Gaps between the groups of one column: a cell's counts come in, the `disparities` of metrics.json go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftlib.config.predict import ReportSection
from sftlib.metrics.fairness import disparities, small_groups
from sftlib.metrics.formulas import Array
from sftlib.metrics.standardise import standardised
from sftlib.report.scheme import Scheme
from sftlib.report.tally import ORIGINAL, SOURCE, Tally
from sftlib.report.vocabulary import NONE

MOST_PAIRS, CLEAREST = 300, 100  # of 100 groups there are 9,900 differences, 4 MB a cell that nobody reads


def group_gaps(
    report: ReportSection, tally: Tally, scheme: Scheme, column: str, groups: Mapping[str, Array], overall: Array
) -> dict[str, Any]:
    """Gaps between the groups of one column; records without a group are in `groups`, not in a gap."""
    counts = {name: scheme.counts(matrix) for name, matrix in groups.items() if name != NONE}
    reference = report.reference_group if report.reference_group in counts else None
    strata = {
        (key[0], " / ".join(key[1:])): scheme.counts(matrix)
        for key, matrix in tally.by_group(column, SOURCE, ORIGINAL).items()
        if key[0] != NONE
    }
    gaps = disparities(counts, scheme.counts(overall), reference, confidence=scheme.confidence)
    even = standardised(strata, confidence=scheme.confidence) if strata else None
    for part in (even or {}).values():
        largest = sorted(part["differences"], key=lambda row: -abs(row["standardised"] or 0))
        part["differences"] = largest if len(largest) <= MOST_PAIRS else largest[:CLEAREST]
    return {
        **gaps,
        "small_groups": small_groups(counts, report.small_group),
        "pairwise": _clearest(gaps["pairwise"]),
        "pairwise_total": len(gaps["pairwise"]),
        "standardised": even,
    }


def _clearest(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All differences, in order; of very many those with the smallest p (adjusted over all), then the largest."""
    if len(pairs) <= MOST_PAIRS:
        return pairs
    order = sorted(pairs, key=lambda row: (row["p"] is None, row["p"] or 0, -abs(row["difference"] or 0)))
    chosen = {id(row) for row in order[:CLEAREST]}
    return [row for row in pairs if id(row) in chosen]
