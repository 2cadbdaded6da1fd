"""Two sides joined on sample id: answers of each come in, the records that both answered go out, coded alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftlib.errors import DataError
from sftlib.metrics.formulas import Array
from sftlib.report.answer_store import ShardAnswers
from sftlib.report.arrow import array_of, numpy_of
from sftlib.report.compare.sides import Side
from sftlib.report.open_ended import TextTally
from sftlib.report.reading import encode
from sftlib.report.scheme import Scheme
from sftlib.report.text_pairs import is_wrong
from sftlib.report.vocabulary import Codes, Membership, Vocabularies, Vocabulary


@dataclass
class Paired:
    """Records that both sides answered, in the order of the first."""

    answers: ShardAnswers
    words: Vocabularies
    ids: pa.Array
    rows: tuple[Array, Array]  # where each record stands in the one and the other side
    only: tuple[int, int]  # records that one side alone has
    texts: tuple[Array, Array] | None = (
        None  # of an open-ended task: FIELDS of each answer, of the one and the other side
    )


def pair_up(first: Side, second: Side, scheme: Scheme) -> Paired:
    """Join, and check that both mean the same records by the same ids."""
    words = [Vocabularies(Vocabulary(scheme.labels), scheme.base_columns, dict(scheme.crossings)) for _ in range(2)]
    ids = [_ids(side) for side in (first, second)]
    place = numpy_of(pc.index_in(ids[0], value_set=ids[1]), -1).astype(np.int64)
    mine = np.flatnonzero(place >= 0)
    rows = mine, place[mine]
    if not len(mine):
        raise DataError(
            f"{first.name} and {second.name} have no sample id in common ({ids[0][0].as_py()!r}, {ids[1][0].as_py()!r}): "
            "were they predicted on the same records?"
        )
    coded = [
        [encode(batch, own) for batch in side.batches] for side, own in zip((first, second), words, strict=True)
    ]  # fmt: skip
    groups, words_of_groups = _groups(coded, words, rows)
    only = len(ids[0]) - len(mine), len(ids[1]) - len(mine)
    kept = ids[0].take(array_of(mine))
    if not scheme.has_labels:
        answers, texts = _texts((first, second), coded, words, rows, kept)
        return Paired(ShardAnswers(*answers, groups), words_of_groups, kept, rows, only, texts)
    gold, other = (_joined(parts, "gold")[at] for parts, at in zip(coded, rows, strict=True))
    names = np.array([*scheme.labels, "(unknown)"], object)
    _check_gold(gold != other, kept, (first, second), lambda row: (names[gold[row]], names[other[row]]))
    outcomes = {
        side.name: _joined(parts, "outcome")[at] for side, parts, at in zip((first, second), coded, rows, strict=True)
    }
    return Paired(ShardAnswers(gold, outcomes, groups), words_of_groups, kept, rows, only)


def _texts(
    sides: tuple[Side, Side],
    coded: list[list[Codes]],
    words: list[Vocabularies],
    rows: tuple[Array, Array],
    ids: pa.Array,
) -> tuple[tuple[Array, dict[str, Array]], tuple[Array, Array]]:
    """((true label, outcomes), texts): one class, what the reference says; an outcome is 0, right, or 1."""
    golds = [column_of(side, "gold").take(array_of(at)) for side, at in zip(sides, rows, strict=True)]
    differing = numpy_of(pc.not_equal(pc.fill_null(golds[0], ""), pc.fill_null(golds[1], "")).cast(pa.uint8())) > 0
    _check_gold(differing, ids, sides, lambda row: (golds[0][row].as_py(), golds[1][row].as_py()))
    measured = []
    for side, parts, own, at in zip(sides, coded, words, rows, strict=True):
        tally = TextTally(own)
        for part, batch in zip(parts, side.batches, strict=True):
            tally.add(part, batch)
        measured.append(tally.by_row()[1][at])
    outcomes = {side.name: is_wrong(answers) for side, answers in zip(sides, measured, strict=True)}
    return (np.zeros(len(ids), np.int64), outcomes), (measured[0], measured[1])


def column_of(side: Side, name: str) -> pa.Array:
    """A text column of all batches."""
    whole = pa.chunked_array([batch.column(name).cast(pa.string()) for batch in side.batches]).combine_chunks()
    return whole if isinstance(whole, pa.Array) else whole.chunk(0)


def _ids(side: Side) -> pa.Array:
    ids = column_of(side, "sample_id")
    if pc.count_distinct(ids, mode="all").as_py() != len(ids):
        raise DataError(f"{side.name}: sample ids repeat: records cannot be paired")
    return ids


def _joined(parts: list[Codes], name: str) -> Array:
    return np.concatenate([getattr(part, name) for part in parts])


def _check_gold(
    is_other: Array, ids: pa.Array, sides: tuple[Side, Side], golds_at: Callable[[int], tuple[str | None, str | None]]
) -> None:
    """Sides that disagree on what is true are not about the same data."""
    differing = np.flatnonzero(is_other)
    if not len(differing):
        return
    row = int(differing[0])
    one, other = golds_at(row)
    raise DataError(
        f"{sides[0].name} and {sides[1].name} do not agree on the true label of {len(differing):,} of {len(ids):,} records "
        f"(first: {ids[row].as_py()!r}, {one!r} and {other!r}): they were not made with the same data"
    )


def _groups(
    coded: list[list[Codes]], words: list[Vocabularies], rows: tuple[Array, Array]
) -> tuple[dict[str, Membership], Vocabularies]:
    """Memberships of the paired records, from the side that knows of groups."""
    known = [any(len(own.groups[column]) > 1 for column in own.columns) for own in words]
    which = 1 if known[1] and not known[0] else 0
    parts, own, at = coded[which], words[which], rows[which]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    place = np.full(starts[-1], -1)
    place[at] = np.arange(len(at))
    found = {}
    for column in own.all_columns:
        members = np.concatenate([part.groups[column].rows + start for part, start in zip(parts, starts, strict=False)])
        values = np.concatenate([part.groups[column].values for part in parts])
        kept = place[members] >= 0
        order = np.argsort(place[members[kept]], kind="stable")
        found[column] = Membership(place[members[kept]][order], values[kept][order])
    return found, own
