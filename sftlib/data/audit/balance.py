"""Class and group counts: a class that nobody can learn or measure, a group too small for a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sftlib.config.tree import SFTConfig
from sftlib.data.audit.entries import Part
from sftlib.data.audit.findings import ERROR, WARNING, Finding, listed

FEWEST = 30  # of positives or negatives in a group: below, a rate's interval is wider than most differences


def balance_findings(parts: dict[str, Part], config: SFTConfig) -> Iterator[Finding]:
    if config.task.type != "classification":
        return
    for part in parts.values():
        counts = part.classes
        missing = [label for label in config.task.labels if not counts[label]]
        known = sum(counts[label] for label in config.task.labels)
        if missing and known:
            level = ERROR if part.name == "train" else WARNING
            sentence = f"no record has the label {', '.join(missing)}: " + (
                "it cannot be learnt" if part.name == "train" else "its rates are empty"
            )
            yield Finding("missing_class", level, part.name, len(missing), len(config.task.labels), sentence)
    if "test" in parts and (labels := _two_sides(config)):
        yield from _thin(parts["test"], labels)


def _two_sides(config: SFTConfig) -> list[str]:
    return config.task.labels if config.task.positive and len(config.task.labels) == 2 else []


def _thin(part: Part, labels: list[str]) -> Iterator[Finding]:
    table = class_by_group(part)
    if not sum(part.classes[label] for label in labels):
        return
    thin = {
        group: ", ".join(f"{label} {counts[label]}" for label in labels)
        for group, counts in table.items()
        if any(counts[label] < FEWEST for label in labels)
    }
    if thin:
        sentence = f"{len(thin):,} of {len(table):,} groups have fewer than {FEWEST} records of a class: {listed(thin)}"
        yield Finding("thin_group", WARNING, part.name, len(thin), len(table), sentence, by_group=thin)


def class_by_group(part: Part) -> dict[str, Counter[str]]:
    """`column=value` -> class -> records; a record of several groups counts in each."""
    table: dict[str, Counter[str]] = {}
    for entry in part.entries:
        for name in entry.group_names:
            table.setdefault(name, Counter())[entry.label or "(none)"] += 1
    return dict(sorted(table.items()))
