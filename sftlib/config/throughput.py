"""Tokens per second of a training on many devices, by arithmetic: what one device does, what the links carry, who waits.

A step takes as long as its slowest rank computes, plus what of the communication is not hidden behind computing.
Standard library only: the plan on a login node uses it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

GIGA = 1e9
_FABRIC_GIGABITS = 200.0  # of a node, where nobody says what it has
NODE_LINK = 400e9  # bytes/s of NVLink 4 to the other devices of a node, as collectives reach it


@dataclass(frozen=True)
class Shape:
    """A model and the adapter on it."""

    name: str
    parameters: float
    active: float  # parameters that a token passes through
    adapter: float  # trained parameters
    weight_bytes: float  # of the base as it is held


@dataclass(frozen=True)
class Device:
    """An accelerator and its links."""

    name: str
    flops: float  # dense 16-bit peak
    memory_bytes: float
    node_link: float  # bytes/s to the other devices of a node
    fabric_link: float  # bytes/s to other nodes, for each device
    latency_s: float = 2e-5  # of one step around a ring

    def with_fabric(self, gigabits_per_node: float, devices_per_node: int) -> Device:
        """The same device where the node has this much network altogether."""
        link = gigabits_per_node * GIGA / 8 / devices_per_node
        return Device(self.name, self.flops, self.memory_bytes, self.node_link, link, self.latency_s)


@dataclass(frozen=True)
class Cluster:
    nodes: int
    devices_per_node: int

    @property
    def world(self) -> int:
        return self.nodes * self.devices_per_node


@dataclass(frozen=True)
class Step:
    """Where the seconds of an optimiser step go."""

    compute_s: float
    waiting_s: float  # for the rank with the most tokens
    gather_s: float  # weights that were sharded, not hidden
    reduce_s: float  # gradients of the adapter, not hidden
    tokens: float

    @property
    def seconds(self) -> float:
        return self.compute_s + self.waiting_s + self.gather_s + self.reduce_s

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def bottleneck(self) -> str:
        """What costs most besides computing."""
        costs = {"waiting": self.waiting_s, "gathering weights": self.gather_s, "reducing gradients": self.reduce_s}
        name, cost = max(costs.items(), key=lambda item: item[1])
        return name if cost > 0.01 * self.seconds else "none above 1%"


# Of communication that could run beside computing, the share that does. With it, 70B sharded over two nodes loses the
# tenth that is publicly reported.
HIDDEN = 0.7


def step(
    shape: Shape, device: Device, cluster: Cluster, *, tokens_per_device: float, device_tokens_per_s: float,
    shard: str = "none", imbalance: float = 1.0, hidden: float = HIDDEN,
) -> Step:  # fmt: skip
    """One optimiser step. `shard`: none (each device holds the base), node (over the devices of a node), all (over all).
    `imbalance`: tokens of the fullest rank over the mean."""
    compute = tokens_per_device / device_tokens_per_s
    gather = _gather_seconds(shape, device, cluster, shard)
    reduce = _reduce_seconds(4.0 * shape.adapter, device, cluster)
    return Step(
        compute_s=compute,
        waiting_s=compute * (imbalance - 1.0),
        gather_s=_exposed(gather, compute, hidden),
        reduce_s=_exposed(reduce, compute / 2, hidden),  # gradients come in the backward half
        tokens=tokens_per_device * cluster.world,
    )


def _exposed(communication: float, compute: float, hidden: float) -> float:
    """What is left of communication after what hides behind computing."""
    return communication - min(hidden * communication, compute)


def _gather_seconds(shape: Shape, device: Device, cluster: Cluster, shard: str) -> float:
    """Frozen weights are gathered for forward and backward; they have no gradients to scatter."""
    ranks = {"none": 1, "node": cluster.devices_per_node, "all": cluster.world}[shard]
    if ranks == 1:
        return 0.0
    crosses = shard == "all" and cluster.nodes > 1
    link = min(device.fabric_link, device.node_link) if crosses else device.node_link
    return 2 * shape.weight_bytes * (ranks - 1) / ranks / link


def _reduce_seconds(gradient_bytes: float, device: Device, cluster: Cluster) -> float:
    """A ring over all devices."""
    if cluster.world == 1:
        return 0.0
    link = device.fabric_link if cluster.nodes > 1 else device.node_link
    share = (cluster.world - 1) / cluster.world
    return 2 * gradient_bytes * share / link + 2 * (cluster.world - 1) * device.latency_s


def fits(shape: Shape, device: Device, cluster: Cluster, shard: str, activation_bytes: float = 12e9) -> bool:
    """Whether base, adapter with its optimiser state (16 bytes a parameter) and activations fit in a device."""
    ranks = {"none": 1, "node": cluster.devices_per_node, "all": cluster.world}[shard]
    return shape.weight_bytes / ranks + 16 * shape.adapter + activation_bytes <= 0.92 * device.memory_bytes


def narrowest_shard(shape: Shape, device: Device, cluster: Cluster) -> str | None:
    """The sharding that sends least and still fits; None: no sharding fits."""
    return next((shard for shard in ("none", "node", "all") if fits(shape, device, cluster, shard)), None)


def imbalance(
    world: int, records_per_rank: int, length: Callable[[random.Random], float], *, steps: int = 200, seed: int = 0
) -> float:
    """Tokens of the fullest rank over the mean, by simulation: every rank draws its records at random."""
    draw = random.Random(seed)
    ratios = []
    for _ in range(steps):
        ranks = [sum(length(draw) for _ in range(records_per_rank)) for _ in range(world)]
        ratios.append(max(ranks) * world / sum(ranks))
    return sum(ratios) / steps


def model_flops_utilisation(
    tokens_per_s: float, active: float, device: Device, flops_per_parameter: float = 4.0
) -> float:
    """Share of the peak; 4N a token: a frozen base has forward and backward, but no gradient of its own weights."""
    return tokens_per_s * flops_per_parameter * active / device.flops


def share_of_linear(
    *, parameters: float, adapter: float, weight_bytes: float, nodes: int, devices_per_node: int, shard: str,
    tokens_per_device: float, device_tokens_per_s: float,
) -> float:  # fmt: skip
    """What is left of nodes x devices x the speed of one, for a plan."""
    shape = Shape("", parameters, parameters, adapter, weight_bytes)
    device = Device("", 0.0, 0.0, node_link=NODE_LINK, fabric_link=0.0).with_fabric(_FABRIC_GIGABITS, devices_per_node)
    cluster = Cluster(nodes, devices_per_node)
    taken = step(shape, device, cluster, tokens_per_device=tokens_per_device, device_tokens_per_s=device_tokens_per_s,
                 shard=shard)  # fmt: skip
    return taken.tokens_per_s / (cluster.world * device_tokens_per_s)
