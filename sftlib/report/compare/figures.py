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
from sftlib.report.compare.cells import MOST_GROUPS, label_cell, text_cell
from sftlib.report.compare.examples import examples
from sftlib.report.compare.pairing import Paired
from sftlib.report.compare.sides import Side
from sftlib.report.comparisons import compare_family, swapped
from sftlib.report.figures import SCHEMA_VERSION
from sftlib.report.findings import NOTE, Finding
from sftlib.report.open_ended import ROUGE, UNPARSED
from sftlib.report.pairs import Joint, add_shard
from sftlib.report.scheme import Scheme
from sftlib.report.sentences import verdicts
from sftlib.report.vocabulary import NONE

PAIR = "pair"
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
        entry["examples"] = examples(paired, first, second, scheme)
        entry["only_a"], entry["only_b"] = paired.only
    cells: dict[str, Any] = {}
    for first, second, paired in pairs:
        joint = joints[second.name, first.name]
        for place, (side, matrix_of) in enumerate(((first, run_b), (second, run_a))):
            cells[side.name] = (
                text_cell(paired, paired.texts[place], scheme, place == 1)
                if paired.texts
                else label_cell(joint, matrix_of, scheme, place == 1)
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
