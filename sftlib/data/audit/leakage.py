"""Texts that stand in two splits: equal after normalising, and nearly equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sftlib.data.audit.entries import Entry, Part, by_class, by_group, places
from sftlib.data.audit.findings import ERROR, MOST_PLACES, WARNING, Finding, percent, shares
from sftlib.data.audit.records import short_place

# A shared share of the test set above this moves a headline by about the width of an honest interval: no run.
MOST_SHARED = 0.01
_PAIRS = (("train", "validation"), ("train", "test"), ("validation", "test"))


@dataclass(frozen=True)
class Overlap:
    """What of split `b` stands in split `a`."""

    a: str
    b: str
    exact: list[Entry]
    near: list[tuple[Entry, Entry, float]]  # in b, in a, similarity
    of: int


def overlaps(parts: dict[str, Part], *, look_near: bool = True) -> list[Overlap]:
    """For each two splits that are there."""
    return [_overlap(parts[a], parts[b], look_near) for a, b in _PAIRS if a in parts and b in parts]


def _overlap(a: Part, b: Part, look_near: bool) -> Overlap:
    known = {entry.key for entry in a.entries}
    exact = [entry for entry in b.entries if entry.key in known]
    rest = [entry for entry in b.entries if entry.key not in known]
    near = []
    if look_near:
        from sftlib.data.audit.minhash import near_pairs

        pairs = near_pairs([entry.key for entry in a.entries], [entry.key for entry in rest])
        near = [(rest[place], a.entries[other], similarity) for place, (other, similarity) in sorted(pairs.items())]
    return Overlap(a.name, b.name, exact, near, len(b))


def leakage_findings(found: Overlap, part: Part) -> Iterator[Finding]:
    """`part` is split b, for its counts by class and group."""
    name = f"{found.b} and {found.a}"
    if found.exact:
        is_grave = found.b == "test" and found.a == "train" and len(found.exact) > MOST_SHARED * found.of
        sentence = (
            f"{len(found.exact):,} of {found.of:,} {found.b} records ({percent(len(found.exact), found.of)}) "
            f"have a text that also stands in {found.a}"
        )
        yield Finding(
            "leakage", ERROR if is_grave else WARNING, name, len(found.exact), found.of, sentence,
            shares(by_class(found.exact), part.classes), shares(by_group(found.exact), part.groups), places(found.exact),
        )  # fmt: skip
    if found.near:
        hit = [entry for entry, _, _ in found.near]
        sentence = (
            f"{len(hit):,} of {found.of:,} {found.b} records ({percent(len(hit), found.of)}) are nearly a record of "
            f"{found.a} (at least .80 of their pieces in common)"
        )
        pairs = [f"{b.place} ~ {short_place(a.place)} ({s:.2f})" for b, a, s in found.near[:MOST_PLACES]]
        yield Finding(
            "near_leakage", WARNING, name, len(hit), found.of, sentence,
            shares(by_class(hit), part.classes), shares(by_group(hit), part.groups), pairs,
        )  # fmt: skip
