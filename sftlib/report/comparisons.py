"""Cells against their baseline and against each other: joint counts come in, the `comparisons` of metrics.json go out.

In each entry a difference is a minus b, so that with the baseline as b a positive number is a rise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sftlib.config.rundir import Run
from sftlib.metrics.paired import adjust, compare, flips
from sftlib.metrics.paired_means import compare_means
from sftlib.metrics.verdicts import verdict, verdict_beside
from sftlib.report.combine import Combined
from sftlib.report.coverage import CellCoverage
from sftlib.report.findings import MISMATCH, Finding, merge_command
from sftlib.report.pairs import ALL_PAIRS, Joint, Pair, baseline_of, examples, joint_tables, pairs_of
from sftlib.report.scheme import Scheme
from sftlib.report.text_pairs import text_joint
from sftlib.report.vocabulary import NONE

SAME_PROMPT = ("base", "prompt", "tokenizer", "test")  # parts in which a cell and its baseline must agree
_SWAPPED = {
    "a": "b", "b": "a", "a_higher": "b_higher", "b_higher": "a_higher",
    "a_right_b_wrong": "b_right_a_wrong", "b_right_a_wrong": "a_right_b_wrong",
    "parsed_in_a_only": "parsed_in_b_only", "parsed_in_b_only": "parsed_in_a_only",
}  # fmt: skip


def compare_run(
    run: Run, coverage: Mapping[str, CellCoverage], combined: Combined, scheme: Scheme, cells: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """All comparisons, and the baselines that were not asked the same prompts as their cell."""
    baselines, findings = _fair_baselines(run, coverage)
    trained = [cell.id for cell in run.cells if not cell.is_baseline and coverage[cell.id].rows]
    scores = {name: cells[name]["overall"][scheme.headline] or 0.0 for name in trained}
    best = max(scores, key=lambda name: scores[name], default=None)
    against = [(baseline, cell) for cell, baseline in baselines.items()]
    # A pair (first, second) is compared as second minus first; a cell is `a` and so comes second.
    others = [(second, first) for first, second in pairs_of(trained, best)]
    joints = _joints(run, combined, scheme, [*against, *others], set(against))
    entries = compare_family(joints, against, scheme, "baseline", len(against))
    entries += compare_family(joints, others, scheme, "cells", len(trained) * (len(trained) - 1) // 2)
    for entry in entries:
        pair = (entry["b"], entry["a"])
        if entry["kind"] == "baseline":
            entry["flips_by_group"] = _group_flips(joints[pair])
            entry["examples"] = _examples(run, joints[pair], coverage[pair[0]], coverage[pair[1]])
    return entries, findings


def _joints(
    run: Run,
    combined: Combined,
    scheme: Scheme,
    pairs: list[Pair],
    full: set[Pair],
) -> dict[Pair, Joint]:
    """Joint counts of all pairs, in full (by group, with examples) for some."""
    if scheme.has_labels:
        groups = next(iter(combined.cells.values())).words.groups
        return joint_tables(combined.answers, groups, scheme, run.num_shards, pairs, full) if combined.answers else {}
    texts = {name: cell.texts for name, cell in combined.cells.items() if cell.texts}
    return {pair: text_joint(run, texts[pair[0]], texts[pair[1]]) for pair in pairs}


def _fair_baselines(run: Run, coverage: Mapping[str, CellCoverage]) -> tuple[dict[str, str], list[Finding]]:
    fair, findings = {}, []
    for cell, baseline in baseline_of(run).items():
        mine, theirs = coverage[cell].parts, coverage[baseline].parts
        if not mine or not theirs:
            continue
        other = [name for name in SAME_PROMPT if mine.get(name) != theirs.get(name)]
        if other:
            reason = f"another {', '.join(other)} than {cell}: the two are not compared"
            mend = f"remove its predictions, sft rerun, {merge_command(run.paths.root)}"
            findings.append(Finding(MISMATCH, baseline, "the baseline's predictions", reason, mend))
        else:
            fair[cell] = baseline
    return fair, findings


def compare_family(
    joints: Mapping[Pair, Joint], pairs: Sequence[Pair], scheme: Scheme, kind: str, tried: int
) -> list[dict[str, Any]]:
    """The comparisons of one family, their p-values adjusted together."""
    used = {f"{place}": joints[pair] for place, pair in enumerate(pairs) if joints[pair].cells.sum()}
    options: dict[str, Any] = {
        "confidence": scheme.confidence, "replicates": scheme.replicates, "seed": scheme.seed,
    }  # fmt: skip
    # Where the best was picked after looking, all the pairs it could have been count, not only those shown.
    is_picked = tried > max(1, ALL_PAIRS * (ALL_PAIRS - 1) // 2) and kind == "cells"
    options["tried"] = tried if is_picked else len(used)
    results = {}
    for name, joint in used.items():
        results[name] = compare(joint.cells, metrics=scheme.compared, **options)
        means = {metric: compare_means(*values, **options) for metric, values in joint.values.items()}
        results[name]["metrics"] |= means
    if not is_picked:
        adjust(results)
    return [_entry(result, pairs[int(name)], kind, scheme.headline) for name, result in results.items()]


def _entry(result: dict[str, Any], pair: Pair, kind: str, headline: str) -> dict[str, Any]:
    first, second = pair
    metrics = {name: swapped(entry) for name, entry in result["metrics"].items()}  # second minus first is a minus b
    sentences = [verdict(result, headline, first, second)]
    if "rouge_l" in metrics:  # of long answers hardly one matches exactly
        sentences.append(verdict_beside(result, "rouge_l", first, second))
    return {
        "a": second,
        "b": first,
        "kind": kind,
        "verdict": " ".join(sentences),
        "n": result["n"],
        "confidence": result["confidence"],
        "tried": result["tried"],
        "metrics": metrics,
        "mcnemar": swapped(result["mcnemar"]),
        "flips": swapped(result["flips"]),
    }


def swapped(counts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: counts[_SWAPPED.get(name, name)] for name in counts}


def _group_flips(joint: Joint) -> dict[str, dict[str, dict[str, int]]]:
    return {
        column: {
            group: {"n": int(groups[group].sum()), **swapped(flips(groups[group]))}
            for group in sorted(groups, key=lambda name: (name == NONE, name))
            if groups[group].any()
        }
        for column, groups in joint.groups.items()
    }


def _examples(run: Run, joint: Joint, first: CellCoverage, second: CellCoverage) -> dict[str, list[dict[str, Any]]]:
    return {
        "a_right_b_wrong": examples(run, first, second, joint.only_second_right),
        "b_right_a_wrong": examples(run, first, second, joint.only_first_right),
    }
