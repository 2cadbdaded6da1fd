"""Near-duplicates: what MinHash proposes against comparing every pair."""

from __future__ import annotations

import random

import pytest

from sftlib.data.audit.minhash import SIMILAR, near_pairs, pieces_of, signatures
from tests.flawed import WORDS


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def changed(rng: random.Random, original: str, words: int) -> str:
    parts = original.split()
    for place in rng.sample(range(len(parts)), words):
        parts[place] = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6))
    return " ".join(parts)


def jaccard(a: str, b: str) -> float:
    first, second = pieces_of(a), pieces_of(b)
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("seed", range(4))
def test_the_pairs_are_those_of_comparing_all(seed: int) -> None:
    rng = random.Random(seed)
    first = [text(rng, rng.randint(12, 30)) for _ in range(300)]
    second = [changed(rng, rng.choice(first), rng.randint(1, 5)) for _ in range(150)] + [
        text(rng, 20) for _ in range(100)
    ]
    truth = {place for place, b in enumerate(second) if max(jaccard(a, b) for a in first) >= SIMILAR}
    found = near_pairs(first, second)
    assert 10 < len(truth) < 200
    assert set(found) <= truth  # each is measured: nothing is found that is not there
    assert len(truth - set(found)) <= 0.02 * len(truth)
    for place, (other, similarity) in found.items():
        assert similarity == pytest.approx(jaccard(first[other], second[place]))


def test_one_mould_with_thousands_of_records_hides_no_copy() -> None:
    rng = random.Random(5)
    first = [f"dear customer, thank you for your order of {text(rng, 6)}, it will arrive soon" for _ in range(3000)]
    second = [f"{first[17]} indeed", f"dear customer, thank you for your order of {text(rng, 6)}, it will arrive soon"]
    found = near_pairs(first, second)
    assert found[0][0] == 17
    if 1 in found:
        assert found[1][1] >= SIMILAR


def test_short_texts_and_empty_ones_are_left_out() -> None:
    assert near_pairs(["ok thanks", "", "a b"], ["ok thanks", "", "ok thank"]) == {}
    assert near_pairs([], ["some text that is long enough to be compared"]) == {}
    assert near_pairs(["some text that is long enough to be compared"], []) == {}


def test_pieces_never_cross_from_one_text_into_the_next() -> None:
    alone = signatures(["the river at the stone bridge"])
    among = signatures(["left", "the river at the stone bridge", "right"])
    assert (alone[0] == among[1]).all()


def test_other_scripts() -> None:
    first = ["我们今天在河边的石桥上看到了一只白色的猫和两只狗"]
    assert 0 in near_pairs(first, ["我们今天在河边的石桥上看到了一只白色的猫和两只狗。"])
    assert not near_pairs(first, ["他们昨天在山上的寺庙里听到了一首古老的歌和三声钟"])
