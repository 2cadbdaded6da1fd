"""Records in one row: each token once on the path of its record, shared beginnings once for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sftlib.data.layout import lay_out
from sftlib.data.rendering import IGNORED
from sftlib.models.tree_attention import visible

RECORDS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


def record(ids: list[int], answer: int = 1) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": [IGNORED] * (len(ids) - answer) + ids[len(ids) - answer :]}


@given(RECORDS, st.booleans(), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_each_token_sees_its_own_record_up_to_itself_and_nothing_else(
    records: list[list[int]], share: bool, least: int
) -> None:
    layout = lay_out([record(ids) for ids in records], share=share, min_shared=least)
    mask = visible(torch.from_numpy(layout.segments)[None, None], len(layout.ids)).numpy()
    for ids, place in zip(records, layout.places, strict=True):
        assert layout.ids[place].tolist() == ids
        assert layout.positions[place].tolist() == list(range(len(ids)))
        for at, token in enumerate(place):
            assert np.flatnonzero(mask[token]).tolist() == place[: at + 1].tolist()


@given(RECORDS, st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_supervised_token_is_predicted_once_for_each_record(records: list[list[int]], share: bool) -> None:
    rows = [record(ids, answer=min(3, len(ids))) for ids in records]
    layout = lay_out(rows, share=share, min_shared=2)
    got = sorted(
        (int(layout.kept[pick]), int(target))
        for pick, target, weight in zip(layout.picks, layout.targets, layout.weights, strict=True)
        for _ in range(int(weight))
    )
    wanted = sorted(
        (int(place[at - 1]), ids[at])
        for ids, place in zip(records, layout.places, strict=True)
        for at in range(max(1, len(ids) - 3), len(ids))
    )
    assert got == wanted and round(float(layout.weights.sum())) == len(wanted)


def test_a_nested_beginning_is_held_once_at_each_level() -> None:
    system, shots = list(range(20)), list(range(30, 50))
    tails = [[100 + i] * 5 for i in range(3)]
    layout = lay_out([record(system + shots + tails[0]), record(system + shots + tails[1]), record(system + tails[2])])
    assert len(layout.ids) == 20 + 20 + 15 and layout.record_tokens == 45 + 45 + 25
    assert layout.segments[:, :3].tolist()[0] == [0, 20, 55]
    assert layout.positions[layout.places[2]].tolist() == list(range(25))


@pytest.mark.parametrize("share", [True, False])
def test_nothing_shared_is_a_plain_row(share: bool) -> None:
    layout = lay_out([record([1, 2, 3]), record([4, 5])], share=share)
    assert len(layout.ids) == 5 and len(layout.segments) == 2
    assert sorted(layout.positions.tolist()) == [0, 0, 1, 1, 2]
