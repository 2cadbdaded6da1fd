"""A target that the evaluation parser would not read back as its own gold label, or only by mending it first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from sftlib.config.data import TaskSection
from sftlib.data.audit.entries import Entry, Part, by_class, by_group, places
from sftlib.data.audit.findings import ERROR, Finding, listed, shares
from sftlib.data.parsing import parse_label

_LONGEST = 80


def target_finding(part: Part, task: TaskSection) -> Iterator[Finding]:
    """Every target goes through the very parser that reads the answers; one that fails is an error."""
    if task.type != "classification" or not task.labels:
        return
    read: dict[tuple[str, str | None], str | None] = {}
    found: list[tuple[Entry, str]] = []
    for entry in part.entries:
        target = entry.sample.target
        if target is None:
            continue
        key = (target, entry.label)
        if key not in read:
            read[key] = _fault(target, entry, task)
        if why := read[key]:
            found.append((entry, why))
    if not found:
        return
    hit = [entry for entry, _ in found]
    by_label = shares(by_class(hit), part.classes)
    reasons = listed({why: f"{count:,}" for why, count in Counter(why for _, why in found).most_common()})
    sentence = (
        f"{len(found):,} of {len(part):,} targets are not read back as their own label as they stand ({listed(by_label)}; {reasons}), "
        f"for example {_quoted(hit[0].sample.target or '')}"
    )
    yield Finding(
        "unparsable_target", ERROR, part.name, len(found), len(part), sentence,
        by_label, shares(by_group(hit), part.groups), places(hit),
    )  # fmt: skip


def _fault(target: str, entry: Entry, task: TaskSection) -> str | None:
    label, reason = parse_label(target, task)
    if label is None:
        return str(reason)
    if entry.sample.gold in task.labels and label != entry.sample.gold:
        return "another label"
    return "invalid JSON" if task.target == "json" and not _is_json(target) else None


def _is_json(target: str) -> bool:
    """The parser takes an object out of broken surroundings, for a model's sake; what is taught must not need that."""
    try:
        json.loads(target)
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(target: str) -> str:
    return target if len(target) <= _LONGEST else target[: _LONGEST - 3] + "..."
