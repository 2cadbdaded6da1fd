"""Whether a peer and `sft merge` say the same: the peer's figures and a cell of metrics.json come in, a sentence goes out.

The peers know of no unparsed answer and count it as the other label; our counts are brought into that form first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

EXACT = 1e-9
BINNED = 1e-4  # AUROC of ours comes from a histogram beyond 200,000 records
GAPS = ("difference", "ratio")  # fairlearn's, over groups


def compare_figures(theirs: Mapping[str, Mapping[str, Any]], cell: Mapping[str, Any]) -> str:
    """Says how many figures are equal; ends the benchmark where one is not."""
    groups = cell["groups"]["group"]
    ours = {"all": _figures(cell["overall"]), **{name: _figures(m) for name, m in groups.items()}}
    ours["all"]["auroc"] = cell["scores"]["auroc"]
    for name, entry in cell["scores"]["bias_aucs"]["group"]["groups"].items():
        ours[name]["auroc"] = entry["subgroup"]
    if missing := ours.keys() - theirs.keys():
        raise SystemExit(f"the peer says nothing of {', '.join(sorted(missing))}")
    ours |= {gap: _gaps([ours[name] for name in groups], gap) for gap in GAPS if gap in theirs}
    count, furthest = 0, 0.0
    for name, figures in theirs.items():
        for metric, value in figures.items():
            own, limit = ours[name][metric], BINNED if metric == "auroc" else EXACT
            off = max(abs(a - b) for a, b in zip(_flat(value), _flat(own), strict=True))
            if not off <= limit:
                raise SystemExit(f"{metric} of {name}: ours {own}, theirs {value}")
            count, furthest = count + 1, max(furthest, off if metric == "auroc" else 0.0)
    return f"all {count} figures agree" + (f" (AUROC within {furthest:.0e})" if furthest else "")


def _figures(m: Mapping[str, int]) -> dict[str, Any]:
    """With an unparsed answer as the other label."""
    tp, fn = m["tp"], m["fn"] + m["unparsed_positive"]
    tn, fp = m["tn"], m["fp"] + m["unparsed_negative"]
    positive, negative, n = tp + fn, tn + fp, m["n"]
    other_f1 = 2 * tn / (2 * tn + fp + fn)
    return {
        "accuracy": (tp + tn) / n, "balanced_accuracy": (tp / positive + tn / negative) / 2, "precision": tp / (tp + fp),
        "recall": tp / positive, "f1": 2 * tp / (2 * tp + fp + fn), "macro_f1": (2 * tp / (2 * tp + fp + fn) + other_f1) / 2,
        "mcc": (tp * tn - fp * fn) / math.sqrt((tp + fp) * positive * negative * (tn + fn)),
        "confusion": [[tn, fp], [fn, tp]], "selection_rate": (tp + fp) / n, "fpr": fp / negative, "fnr": fn / positive,
    }  # fmt: skip


def _gaps(groups: list[dict[str, Any]], gap: str) -> dict[str, float]:
    values = {metric: [entry[metric] for entry in groups] for metric in groups[0] if metric != "confusion"}
    if gap == "difference":
        return {metric: max(found) - min(found) for metric, found in values.items()}
    return {metric: min(found) / max(found) for metric, found in values.items()}


def _flat(value: Any) -> list[float]:
    return [entry for row in value for entry in row] if isinstance(value, list) else [value]
