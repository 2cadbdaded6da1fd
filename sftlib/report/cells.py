"""One cell's object of metrics.json: its statistics come in, figures by group, stratum and score go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftlib.config.tree import SFTConfig
from sftlib.metrics.fairness import hybrid_score
from sftlib.metrics.formulas import Array
from sftlib.metrics.trivial import trivial_baselines
from sftlib.report.combine import CellStatistics
from sftlib.report.group_gaps import group_gaps
from sftlib.report.scheme import M, Scheme
from sftlib.report.score_figures import score_figures
from sftlib.report.scored import ScoreTally
from sftlib.report.tally import ORIGINAL, SOURCE, Tally
from sftlib.report.vocabulary import NONE

MOST_STRATA = 60  # the same of groups within strata; beyond it only what bias is read from is given
_BIAS = frozenset({
    "n", "n_positive", "n_negative", "tp", "fn", "fp", "tn", "unparsed_positive", "unparsed_negative", "accuracy", "f1",
    "macro_f1", "fpr", "fpr_low", "fpr_high", "fnr", "fnr_low", "fnr_high", "selection_rate", "parse_rate",
})  # fmt: skip
MOST_WORDS = 20  # answers that are no label
MOST_INTERVALS = 200  # bootstraps of one grouping; with more groups only rates are given, which are exact


def cell_figures(config: SFTConfig, statistics: CellStatistics, scheme: Scheme) -> dict[str, Any]:
    """Everything that follows from a cell's answers."""
    if statistics.tally:
        figures = _label_figures(config, statistics.tally, statistics.scores, scheme)
        if config.report.hybrid_weight is not None:
            figures["hybrid"] = _hybrid(figures, config.report.hybrid_weight)
        return {**figures, "decisions": [entry.figures(scheme) for entry in statistics.decisions] or None}
    return _text_figures(config, statistics, scheme)


def _label_figures(config: SFTConfig, tally: Tally, scores: ScoreTally | None, scheme: Scheme) -> dict[str, Any]:
    columns, report = scheme.columns, config.report
    overall = tally.overall()
    groups = {column: _first(tally.by_group(column)) for column in columns}
    counts = scheme.counts(overall)
    return {
        "overall": scheme.measure({"": overall})[""],
        "groups": {
            column: scheme.measure(matrices, intervals=len(matrices) <= MOST_INTERVALS)
            for column, matrices in groups.items()
        },
        "disparities": {
            c: group_gaps(report, tally, scheme, c, groups[c], overall) for c in columns if scheme.positive
        },
        "stratified": _stratified(config, tally, scheme),
        "scores": score_figures(scores, scheme, report.calibration_bins) if scores and scores.scored else None,
        "baselines": trivial_baselines(counts.n_positive, counts.n_negative) if scheme.positive else {},
        "confusion": confusion_figures(overall, scheme),
        "unparsed": {"reasons": tally.by_reason(), "unknown_labels": _most(tally.words.unknown)},
        "unlabelled": tally.unlabelled,
        "tokens": {"prompt": tally.prompt_tokens, "new": tally.new_tokens},
    }


def _hybrid(figures: dict[str, Any], weight: float) -> dict[str, Any] | None:
    """F1 and fairness in one number, for who wants to compare with such a ranking; never the verdict. The bias score is 1
    minus the equalized odds difference of the first grouping."""
    column = next(iter(figures["disparities"]), None)
    gap = figures["disparities"][column]["equalized_odds_difference"] if column else None
    bias = None if gap is None else 1 - gap
    score = hybrid_score(figures["overall"].get("f1"), bias, weight)
    return {"weight": weight, "column": column, "bias_score": bias, "score": score}


def confusion_figures(matrix: Array, scheme: Scheme) -> dict[str, Any]:
    """Rows are gold labels; columns the labels, then unparsed. Shares are of the row."""
    sums = matrix.sum(axis=1)
    shares = [
        [int(cell) / int(total) if total else None for cell in row] for row, total in zip(matrix, sums, strict=True)
    ]
    return {"labels": list(scheme.labels), "counts": matrix.tolist(), "shares": shares}


def _first(matrices: Mapping[tuple[str, ...], Array]) -> dict[str, Array]:
    return {key[0]: matrix for key, matrix in matrices.items()}


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    """The commonest answers that are no label, cut to a length that can be shown."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {name[:200]: count for name, count in ordered[:MOST_WORDS]}


def _stratified(config: SFTConfig, tally: Tally, scheme: Scheme) -> dict[str, Any]:
    """M by source and by original label, and by group within each; empty where the data names none."""
    data, result = config.data, {}
    for name, axis, column in (
        ("source", SOURCE, data.source_column),
        ("original_label", ORIGINAL, data.original_label_column),
    ):
        if not column:
            continue
        strata = tally.by_source() if axis == SOURCE else tally.by_original()
        result[name] = scheme.measure(_first(strata))
        result[f"group_by_{name}"] = {c: _group_strata(tally, scheme, c, axis) for c in scheme.base_columns}
    return result


def _group_strata(tally: Tally, scheme: Scheme, column: str, axis: int) -> dict[str, dict[str, M]]:
    matrices = tally.by_group(column, axis)
    keys = {f"{place}": key for place, key in enumerate(matrices)}
    is_few = len(keys) <= MOST_STRATA
    measured = scheme.measure({name: matrices[key] for name, key in keys.items()}, intervals=is_few)
    if not is_few:
        measured = {name: {key: m[key] for key in m if key in _BIAS} for name, m in measured.items()}
    result: dict[str, dict[str, M]] = {}
    for name, (group, stratum) in keys.items():
        result.setdefault(stratum, {})[group] = measured[name]
    return {stratum: result[stratum] for stratum in sorted(result, key=lambda name: (name == NONE, name))}


def _text_figures(config: SFTConfig, statistics: CellStatistics, scheme: Scheme) -> dict[str, Any]:
    texts, data, confidence = statistics.texts, config.data, scheme.confidence
    assert texts is not None  # a task has labels or texts
    strata = {"source": data.source_column, "original_label": data.original_label_column}
    return {
        "overall": texts.overall(confidence),
        "groups": {column: texts.by_group(column, confidence) for column in scheme.columns},
        "disparities": {},
        "stratified": {name: texts.by_stratum(name, confidence) for name, column in strata.items() if column},
        "scores": None,
        "baselines": {},
        "unparsed": {"reasons": dict(texts.reasons.most_common()), "unknown_labels": {}},
        "unlabelled": 0,
        "tokens": {"prompt": texts.prompt_tokens, "new": texts.new_tokens},
    }
