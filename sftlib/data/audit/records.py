"""Findings about single records and pairs in one split: refused, empty, duplicate, conflicting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from sftlib.config.tree import SFTConfig
from sftlib.data.audit.entries import Entry, Part, by_class, by_group, places
from sftlib.data.audit.findings import ERROR, MOST_PLACES, WARNING, Finding, listed, percent, shares


def refused_findings(part: Part) -> Iterator[Finding]:
    """Records that a run refuses: one is an error, unless data.faulty leaves them out."""
    for kind, what in (("empty", "are empty"), ("unreadable", "are not what the format says")):
        found = [(place, why) for name, place, why in part.refused if name == kind]
        if found:
            of = len(part) + len(part.refused)
            sentence = f"{len(found):,} of {of:,} records {what}: {_short(found[0][1])}"
            yield Finding(
                kind,
                ERROR if part.stops else WARNING,
                part.name,
                len(found),
                of,
                sentence,
                places=[place for place, _ in found[:MOST_PLACES]],
            )


def _short(why: str) -> str:
    return why if len(why) <= 200 else why[:197] + "..."


def duplicate_finding(part: Part, config: SFTConfig) -> Iterator[Finding]:
    """The same text more than once (open-ended tasks: the same prompt with the same answer). Any one counts."""
    is_labelled = config.task.type == "classification"
    groups: dict[object, list[Entry]] = defaultdict(list)
    for entry in part.entries:
        groups[(entry.key, entry.context, None if is_labelled else entry.sample.target)].append(entry)
    extra = [entry for group in groups.values() for entry in group[1:]]
    if not extra:
        return
    texts = sum(len(group) > 1 for group in groups.values())
    sentence = (
        f"{len(extra):,} of {len(part):,} records ({percent(len(extra), len(part))}) repeat "
        f"{'a text' if texts == 1 else f'one of {texts:,} texts'} of the same split"
    )
    yield Finding(
        "duplicate", WARNING, part.name, len(extra), len(part), sentence,
        shares(by_class(extra), part.classes), shares(by_group(extra), part.groups), places(extra),
    )  # fmt: skip


def conflict_finding(parts: dict[str, Part], config: SFTConfig) -> Iterator[Finding]:
    """One text, two labels, in one split or across splits. Any one counts; the prompt shows both the same."""
    if config.task.type != "classification":
        return
    labels: dict[object, set[str]] = defaultdict(set)
    for part in parts.values():
        for entry in part.entries:
            if entry.label is not None:
                labels[(entry.key, entry.context)].add(entry.label)
    for part in parts.values():
        found = [entry for entry in part.entries if len(labels[(entry.key, entry.context)]) > 1]
        if not found:
            continue
        texts = len({(entry.key, entry.context) for entry in found})
        pairs = Counter(" and ".join(sorted(labels[(entry.key, entry.context)])) for entry in found)
        sentence = (
            f"{len(found):,} of {len(part):,} records ({percent(len(found), len(part))}) have "
            f"{'a text' if texts == 1 else f'one of {texts:,} texts'} that stands with different labels: "
            + listed({name: f"{count:,}" for name, count in pairs.most_common()})
        )
        yield Finding(
            "conflict", WARNING, part.name, len(found), len(part), sentence,
            shares(by_class(found), part.classes), shares(by_group(found), part.groups), places(found),
        )  # fmt: skip


def short_place(place: str) -> str:
    """`posts/train.jsonl:12` of a long path."""
    path, _, line = place.rpartition(":")
    return f"{Path(path).name}:{line}"
