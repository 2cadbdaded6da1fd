"""Two sides joined on sample id: answers of each come in, the records that both answered go out, coded alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftlib.errors import DataError
from sftlib.metrics.formulas import Array
from sftlib.report.answer_store import ShardAnswers
from sftlib.report.arrow import numpy_of
from sftlib.report.compare.sides import Side
from sftlib.report.reading import encode
from sftlib.report.scheme import Scheme
from sftlib.report.vocabulary import Codes, Membership, Vocabularies, Vocabulary


@dataclass
class Paired:
    """Records that both sides answered, in the order of the first."""

    answers: ShardAnswers
    words: Vocabularies
    ids: pa.Array
    rows: tuple[Array, Array]  # where each record stands in the one and the other side
    only: tuple[int, int]  # records that one side alone has


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
    gold, other = (_joined(parts, "gold")[at] for parts, at in zip(coded, rows, strict=True))
    _check_gold(gold, other, ids[0], mine, scheme, first, second)
    outcomes = {
        side.name: _joined(parts, "outcome")[at] for side, parts, at in zip((first, second), coded, rows, strict=True)
    }
    groups, words_of_groups = _groups(coded, words, rows)
    only = len(ids[0]) - len(mine), len(ids[1]) - len(mine)
    return Paired(ShardAnswers(gold, outcomes, groups), words_of_groups, ids[0].take(pa.array(mine)), rows, only)


def _ids(side: Side) -> pa.Array:
    whole = pa.chunked_array([batch.column("sample_id") for batch in side.batches]).combine_chunks()
    ids = whole if isinstance(whole, pa.Array) else whole.chunk(0)
    if pc.count_distinct(ids, mode="all").as_py() != len(ids):
        raise DataError(f"{side.name}: sample ids repeat: records cannot be paired")
    return ids


def _joined(parts: list[Codes], name: str) -> Array:
    return np.concatenate([getattr(part, name) for part in parts])


def _check_gold(
    gold: Array, other: Array, ids: pa.Array, mine: Array, scheme: Scheme, first: Side, second: Side
) -> None:
    differing = np.flatnonzero(gold != other)
    if not len(differing):
        return
    names = [*scheme.labels, "(unknown)"]
    one = int(differing[0])
    raise DataError(
        f"{first.name} and {second.name} do not agree on the true label of {len(differing):,} of {len(gold):,} records "
        f"(first: {ids[int(mine[one])].as_py()!r}, {names[gold[one]]!r} and {names[other[one]]!r}): "
        "they were not made with the same data"
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
