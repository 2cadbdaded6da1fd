"""A comparison (paired.compare) comes in, one plain sentence goes out that a reader can repeat without overclaiming."""

from __future__ import annotations

import math
from typing import Any

LOWER_IS_BETTER = frozenset({"fpr", "fnr"})
METRIC_NAMES = {
    "accuracy": "accuracy", "f1": "F1", "fpr": "FPR", "fnr": "FNR", "mcc": "MCC", "macro_f1": "macro-F1",
    "exact_match": "exact match", "rouge_l": "ROUGE-L",
}  # fmt: skip


def verdict(comparison: dict[str, Any], metric: str = "f1", name_a: str = "A", name_b: str = "B") -> str:
    """Whether B differs from A in this metric, by how much, how sure, and what it would take to know."""
    entry, title = comparison["metrics"][metric], METRIC_NAMES.get(metric, metric)
    records = _records(comparison)
    if entry["difference"] is None:
        missing = " and ".join(name for name, key in ((name_a, "a"), (name_b, "b")) if entry[key] is None)
        return f"On {records} {name_b} and {name_a} cannot be compared by {title}: it is undefined for {missing}."
    if entry["difference"] == 0:
        return f"On {records} {name_b} and {name_a} have the same {title} of {entry['a']:.3f}{_interval(entry)}."
    if is_significant(comparison, metric):
        return _seen(comparison, entry, metric, title, name_a, name_b)
    return (
        f"On {records} the difference of {abs(entry['difference']):.3f} {title} between {name_b} and {name_a} "
        f"is within noise ({_evidence(comparison, entry, name_a, name_b)}){_outlook(entry)}."
    )


def verdict_beside(comparison: dict[str, Any], metric: str, name_a: str, name_b: str) -> str:
    """The same of a further metric, after the sentence on the first."""
    entry, title = comparison["metrics"][metric], METRIC_NAMES.get(metric, metric)
    if not entry["difference"]:
        return verdict(comparison, metric, name_a, name_b)
    evidence = _evidence(comparison, entry, name_a, name_b)
    if not is_significant(comparison, metric):
        return (
            f"The difference of {abs(entry['difference']):.3f} {title} is within noise ({evidence}){_outlook(entry)}."
        )
    side = "higher" if entry["difference"] > 0 else "lower"
    return f"The {title} of {name_b} is {abs(entry['difference']):.3f} {side}, {entry['a']:.3f} to {entry['b']:.3f} ({evidence})."


def is_significant(comparison: dict[str, Any], metric: str) -> bool:
    """Whether the p-value, adjusted for the runs tried where there were several, is below the chosen level."""
    p = corrected_p(comparison, comparison["metrics"][metric])
    return p is not None and p < 1 - comparison["confidence"]


def corrected_p(comparison: dict[str, Any], entry: dict[str, Any]) -> float | None:
    """Holm's p where the family is known, else Bonferroni's for the number tried."""
    if entry.get("p_holm") is not None:
        return float(entry["p_holm"])
    return None if entry["p"] is None else min(1.0, entry["p"] * comparison["tried"])


def round_to_two_digits(count: int) -> int:
    """A forecast of 6,291 records is not known to the last record: 6,300."""
    step = 10 ** max(0, int(math.log10(count)) - 1)
    return math.ceil(count / step) * step


def _records(comparison: dict[str, Any]) -> str:
    return "1 record" if comparison["n"] == 1 else f"{comparison['n']:,} records"


def _outlook(entry: dict[str, Any]) -> str:
    needed = entry["needed_records"]
    return f"; about {round_to_two_digits(needed):,} records would be needed to see it" if needed else ""


def _seen(comparison: dict[str, Any], entry: dict[str, Any], metric: str, title: str, name_a: str, name_b: str) -> str:
    difference = entry["difference"]
    word = "better" if (difference < 0) == (metric in LOWER_IS_BETTER) else "worse"
    side = "higher" if difference > 0 else "lower"
    return (
        f"On {_records(comparison)} {name_b} is {word} than {name_a}: its {title} is {abs(difference):.3f} "
        f"{side}, {entry['a']:.3f} to {entry['b']:.3f} ({_evidence(comparison, entry, name_a, name_b)})."
    )


def _evidence(comparison: dict[str, Any], entry: dict[str, Any], name_a: str, name_b: str) -> str:
    p, parts = corrected_p(comparison, entry), []
    if entry["low"] is not None:
        level = f"{100 * comparison['confidence']:g}%"
        parts.append(f"{level} interval of {name_b} minus {name_a} {entry['low']:+.3f} to {entry['high']:+.3f}")
    if p is not None:
        parts.append("p < 0.001" if p < 0.001 else f"p = {p:.3g}")
    if comparison["tried"] > 1:
        parts.append(f"corrected for the {comparison['tried']} runs tried")
    return ", ".join(parts)


def _interval(entry: dict[str, Any]) -> str:
    return "" if entry["low"] is None else f" (interval of the difference {entry['low']:+.3f} to {entry['high']:+.3f})"
