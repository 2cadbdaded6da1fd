"""Arithmetic of scaling: what one device does, what links carry, who waits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import scaling
from sftlib.config.batching import padded_work, tree_work
from sftlib.config.throughput import Cluster, imbalance, narrowest_shard, step

LLAMA, _, LARGE = scaling.MODELS


def per_device(shape, cluster, **further):
    given = {"tokens_per_device": 16_384, "device_tokens_per_s": 1_092, **further}
    return step(shape, scaling.H100, cluster, **given).tokens_per_s / cluster.world


def test_one_device_does_what_one_device_does() -> None:
    assert per_device(LLAMA, Cluster(1, 1), device_tokens_per_s=12_500) == pytest.approx(12_500)


def test_two_nodes_of_a_sharded_70b_lose_the_publicly_reported_tenth() -> None:
    loss = 1 - per_device(LARGE, Cluster(2, 8), shard="all") / per_device(LARGE, Cluster(1, 8), shard="all")
    assert 0.05 < loss < 0.15


def test_the_narrowest_sharding_that_fits_is_chosen() -> None:
    assert narrowest_shard(LLAMA, scaling.H100, Cluster(2, 8)) == "none"
    assert narrowest_shard(LARGE, scaling.H100, Cluster(2, 8)) == "node"
    assert narrowest_shard(LARGE, scaling.H100, Cluster(1, 1)) is None


def test_the_fullest_rank_is_waited_for() -> None:
    def even(draw: random.Random) -> float:
        return 100.0

    assert imbalance(64, 4, even, steps=5) == pytest.approx(1.0)
    few, many = (imbalance(world, 4, scaling.chat_length, steps=50) for world in (2, 64))
    assert 1.05 < few < many
    waiting = step(LLAMA, scaling.H100, Cluster(1, 8), tokens_per_device=1000, device_tokens_per_s=1000, imbalance=1.5)
    assert waiting.bottleneck == "waiting" and waiting.waiting_s == pytest.approx(0.5)


def test_the_page_holds_what_the_program_computes() -> None:
    page = Path(scaling.PAGE).read_text(encoding="utf-8")
    assert scaling.replaced(page, scaling.tables()) == page, "renew it: python -m benchmarks.scaling --write"


def test_work_of_layouts() -> None:
    assert padded_work([3, 5], 4).tokens == 16
    tree = tree_work([(0, 10, 16), (10, 13, 13), (13, 16, 16)])
    assert tree.tokens == 16 and tree.pairs == 55 + 2 * 6 + 6 * 10
