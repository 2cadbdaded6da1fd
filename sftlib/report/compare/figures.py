"""comparison.json: paired answers come in, a dictionary in the form of metrics.json goes out, so that the page, the text
and a reader of the one know the other. The two sides are its cells, on the records that both answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sftlib
from sftlib.config.predict import ReportSection
from sftlib.metrics.bootstrap import bootstrap_intervals
from sftlib.metrics.counts import none_if_nan
from sftlib.metrics.formulas import Array
from sftlib.metrics.paired import difference_of, flips, run_a, run_b
from sftlib.metrics.paired_means import compare_means
from sftlib.metrics.trivial import trivial_baselines
from sftlib.report.cells import confusion_figures
from sftlib.report.compare.pairing import Paired
from sftlib.report.compare.sides import Side
from sftlib.report.comparisons import compare_family, swapped
from sftlib.report.figures import SCHEMA_VERSION
from sftlib.report.findings import NOTE, Finding
from sftlib.report.open_ended import ROUGE, UNPARSED, measure_texts
from sftlib.report.pairs import Joint, add_shard
from sftlib.report.scheme import Scheme
from sftlib.report.sentences import verdicts
from sftlib.report.text_pairs import clearest
from sftlib.report.vocabulary import NONE

PAIR = "pair"
EXAMPLES = 5  # each way, of each comparison; of each group one
MOST_GROUPS = 60  # with differences of their own
Pairs = Sequence[tuple[Side, Side, Paired]]


def comparison_figures(
    pairs: Pairs, scheme: Scheme, names: tuple[str, str], findings: Sequence[Finding]
) -> dict[str, Any]:
    """`names` are the two words of the command line."""
    joints = {(b.name, a.name): _joint(paired, scheme, (b.name, a.name)) for a, b, paired in pairs}
    entries = compare_family(joints, list(joints), scheme, PAIR, len(joints))
    for entry, (first, second, paired) in zip(entries, pairs, strict=True):
        joint = joints[second.name, first.name]
        entry["flips_by_group"] = _by_group(joint, scheme)
        if paired.texts:
            _add_text_changes(entry["flips_by_group"], paired, scheme)
        entry["examples"] = _examples(paired, first, second, scheme)
        entry["only_a"], entry["only_b"] = paired.only
    cells: dict[str, Any] = {}
    for first, second, paired in pairs:
        joint = joints[second.name, first.name]
        for place, (side, matrix_of) in enumerate(((first, run_b), (second, run_a))):
            cells[side.name] = (
                _text_cell(paired, paired.texts[place], scheme, place == 1)
                if paired.texts
                else _cell(joint, matrix_of, scheme, place == 1)
            )
    found = [*findings, *_notes(pairs)]
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": not any(finding.is_fault for finding in found),
        "run": _about(scheme, names, len(pairs[0][2].answers.gold)),
        "verdicts": verdicts(cells, entries, scheme.headline, scheme.confidence),
        "coverage": _coverage(pairs, found),
        "cells": cells,
        "comparisons": entries,
    }


def _joint(paired: Paired, scheme: Scheme, pair: tuple[str, str]) -> Joint:
    width = max(1, len(scheme.labels)) + 1  # of an open-ended task one class: what the reference says
    joint = Joint(np.zeros((width - 1, width, width), np.int64))
    add_shard(joint, paired.answers, pair, paired.words.groups, 0)
    if paired.texts:
        first, second = paired.texts
        joint.values["rouge_l"] = second[:, ROUGE], first[:, ROUGE]
    return joint


def _by_group(joint: Joint, scheme: Scheme) -> dict[str, dict[str, Any]]:
    """Flips both ways and, for as many groups as anyone reads, the difference of each metric with its interval."""
    found: dict[str, dict[str, Any]] = {}
    for column, groups in joint.groups.items():
        names = sorted((name for name in groups if groups[name].any()), key=lambda name: (name == NONE, name))
        found[column] = {
            name: {
                "n": int(groups[name].sum()),
                **swapped(flips(groups[name])),
                **_changes(groups[name], scheme, len(names)),
            }
            for name in names
        }
    return found


def _changes(counts: Array, scheme: Scheme, num_groups: int) -> dict[str, Any]:
    if num_groups > MOST_GROUPS:
        return {}
    changes = {name: difference_of(formula) for name, formula in scheme.compared.items()}
    intervals = bootstrap_intervals(counts, changes, scheme.confidence, scheme.replicates, scheme.seed)
    return {
        "metrics": {
            name: {
                "a": none_if_nan(formula(run_b(counts))), "b": none_if_nan(formula(run_a(counts))),
                "difference": intervals[name].estimate, "low": intervals[name].low, "high": intervals[name].high,
            }
            for name, formula in scheme.compared.items()
        }
    }  # fmt: skip


def _add_text_changes(groups: dict[str, dict[str, Any]], paired: Paired, scheme: Scheme) -> None:
    """The change of the mean ROUGE-L in each group."""
    assert paired.texts is not None
    a, b = (side[:, ROUGE] for side in paired.texts)
    for column, member in paired.answers.groups.items():
        for code, name in enumerate(paired.words.groups[column].names):
            if "metrics" in groups[column].get(name, {}):
                rows = member.rows[member.values == code]
                found = compare_means(b[rows], a[rows], scheme.confidence, scheme.replicates, scheme.seed)
                groups[column][name]["metrics"]["rouge_l"] = {
                    "a": found["b"], "b": found["a"], **{key: found[key] for key in ("difference", "low", "high")},
                }  # fmt: skip


def _examples(paired: Paired, first: Side, second: Side, scheme: Scheme) -> dict[str, list[dict[str, Any]]]:
    """Records that one side alone got right, from as many groups as there are."""
    if paired.texts:
        a, b = paired.texts
        ways = {"a_right_b_wrong": clearest(a, b), "b_right_a_wrong": clearest(b, a)}
        return {
            way: [_example(paired, first, second, scheme, int(row)) for row in rows[:EXAMPLES]]
            for way, rows in ways.items()
        }
    gold, outcomes = paired.answers.gold, paired.answers.outcomes
    right = {side.name: outcomes[side.name] == gold for side in (first, second)}
    flipped = {
        "a_right_b_wrong": right[first.name] & ~right[second.name],
        "b_right_a_wrong": right[second.name] & ~right[first.name],
    }
    return {
        way: [_example(paired, first, second, scheme, int(row)) for row in _spread(paired, np.flatnonzero(rows))]
        for way, rows in flipped.items()
    }


def _spread(paired: Paired, rows: Array) -> list[int]:
    """The first record of each group, then others, EXAMPLES in all."""
    column = next(iter(paired.answers.groups), None)
    first: dict[int, int] = {}
    if column is not None:
        member = paired.answers.groups[column]
        inside = np.isin(member.rows, rows)
        for row, value in zip(member.rows[inside].tolist(), member.values[inside].tolist(), strict=True):
            first.setdefault(value, row)
    chosen = list(dict.fromkeys([*first.values(), *rows[:EXAMPLES].tolist()]))
    return chosen[: max(EXAMPLES, min(len(first), 2 * EXAMPLES))]


def _example(paired: Paired, first: Side, second: Side, scheme: Scheme, row: int) -> dict[str, Any]:
    groups = {
        column: [paired.words.groups[column].names[value] for value in member.values[member.rows == row]]
        for column, member in paired.answers.groups.items()
        if column in paired.words.columns
    }
    at = {side: int(rows[row]) for side, rows in zip(("a", "b"), paired.rows, strict=True)}
    said = {
        "gold": _text(first, at["a"], "gold"),
        "a": _text(first, at["a"], "prediction"),
        "b": _text(second, at["b"], "prediction"),
    }
    if scheme.has_labels:
        names, answers = [*scheme.labels, None], paired.answers
        codes = {"gold": answers.gold, "a": answers.outcomes[first.name], "b": answers.outcomes[second.name]}
        said = {key: names[values[row]] for key, values in codes.items()}
    return {
        "sample_id": paired.ids[row].as_py(), "gold": said["gold"], "groups": groups, "a": said["a"], "b": said["b"],
        "a_raw": _text(first, at["a"], "raw"), "b_raw": _text(second, at["b"], "raw"),
    }  # fmt: skip


def _text(side: Side, row: int, column: str) -> str | None:
    for batch in side.batches:
        if row < batch.num_rows:
            return batch.column(column)[row].as_py() if column in batch.schema.names else None
        row -= batch.num_rows
    return None


def _cell(joint: Joint, matrix_of: Any, scheme: Scheme, is_second: bool) -> dict[str, Any]:
    """One side as a cell of metrics.json, as far as the paired records tell."""
    overall = matrix_of(joint.cells)
    groups = {
        column: {name: matrix_of(groups[name]) for name in sorted(groups) if groups[name].any()}
        for column, groups in joint.groups.items()
    }
    counts = scheme.counts(overall) if scheme.positive else None
    return {
        **_side(is_second),
        "overall": scheme.measure({"": overall})[""],
        "groups": {column: scheme.measure(matrices, intervals=len(matrices) <= MOST_GROUPS) for column, matrices in groups.items()},
        "baselines": trivial_baselines(counts.n_positive, counts.n_negative) if counts else {},
        "confusion": confusion_figures(overall, scheme),
    }  # fmt: skip


def _text_cell(paired: Paired, answers: Array, scheme: Scheme, is_second: bool) -> dict[str, Any]:
    """The same of an open-ended task."""
    groups: dict[str, dict[str, Any]] = {}
    for column, member in paired.answers.groups.items():
        names = paired.words.groups[column].names
        codes = sorted(np.unique(member.values).tolist(), key=lambda code: (names[code] == NONE, names[code]))
        groups[column] = {
            names[code]: measure_texts(answers[member.rows[member.values == code]], scheme.confidence) for code in codes
        }
    return {**_side(is_second), "overall": measure_texts(answers, scheme.confidence), "groups": groups, "baselines": {}}


def _side(is_second: bool) -> dict[str, Any]:
    """What is not known of a side that is only compared."""
    return {
        "is_baseline": is_second, "overrides": {}, "disparities": {}, "stratified": {}, "scores": None,
        "unparsed": {"reasons": {}, "unknown_labels": {}}, "unlabelled": 0, "tokens": {}, "training": None,
    }  # fmt: skip


def _notes(pairs: Pairs) -> list[Finding]:
    return [
        Finding(NOTE, None, f"{count:,} records that only {side.name} answered", "in no figure of this comparison")
        for first, second, paired in pairs
        for side, count in zip((first, second), paired.only, strict=True)
        if count
    ]


def _about(scheme: Scheme, names: tuple[str, str], count: int) -> dict[str, Any]:
    settings = ReportSection()
    return {
        "kind": "comparison", "name": " against ".join(Path(name).name or name for name in names),
        "directory": " ".join(("sft compare", *names)), "description": "", "fingerprint": None,
        "created": None, "sftlib": sftlib.__version__, "task": "classification" if scheme.has_labels else "generation", "labels": list(scheme.labels),
        "positive": scheme.positive, "method": "paired by sample id", "test": {"path": "", "count": count, "sha256": None},
        "confidence": scheme.confidence, "bootstrap": scheme.replicates, "seed": scheme.seed,
        "small_group": settings.small_group,
    }  # fmt: skip


def _coverage(pairs: Pairs, found: Sequence[Finding]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    unparsed = 0
    for first, second, paired in pairs:
        count = len(paired.answers.gold)
        for side in (first, second):
            cells[side.name] = {
                "rows": count,
                "share": 1.0,
                "valid_shards": 1,
                "fingerprint": None,
                "parts": {},
                "groups": {},
            }
        if paired.texts:
            unparsed += sum(int(answers[:, UNPARSED].sum()) for answers in paired.texts)
        else:
            lost = len(paired.words.labels)
            unparsed += sum(int((outcomes == lost).sum()) for outcomes in paired.answers.outcomes.values())
    total = sum(cell["rows"] for cell in cells.values())
    mends: Mapping[str, None] = dict.fromkeys(finding.mend for finding in found if finding.mend)
    return {
        "records": len(pairs[0][2].answers.gold), "shards": 1, "valid_shards": len(cells), "expected_shards": len(cells),
        "unparsed": unparsed, "unparsed_share": unparsed / total if total else None, "records_in_no_cell": 0, "cells": cells,
        "findings": [finding.to_json() for finding in found], "mend": next(iter(mends), None),
    }  # fmt: skip
