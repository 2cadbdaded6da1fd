"""Tokens/s on 1 to 16 nodes for 8B, 20B and 70B, by arithmetic and simulation; writes the tables of docs/scaling.md.

python -m benchmarks.scaling [--write]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from sftlib.config.throughput import Cluster, Device, Shape, imbalance, model_flops_utilisation, narrowest_shard, step
from sftlib.data.packing import plan_rows

PAGE = Path(__file__).parents[1] / "docs/scaling.md"
BEGIN, END = "<!-- tables: python -m benchmarks.scaling --write -->", "<!-- end of tables -->"
NODES = (1, 2, 4, 8, 16)
DEVICES = 8
TOKENS = 16_384  # of a device in an optimiser step: four rows of 4,096

H100 = Device("H100 80 GB", 989e12, 80e9, node_link=400e9, fabric_link=50e9)
MODELS = [
    Shape("Llama-3.1-8B", 8.03e9, 8.03e9, 41.9e6, 2 * 8.03e9),
    Shape("gpt-oss-20b", 20.9e9, 3.6e9, 8.0e6, 2 * 20.9e9),
    Shape("Llama-3.3-70B", 70.6e9, 70.6e9, 207e6, 2 * 70.6e9),
]
# Tokens/s of one device. Public figures for 8B and 70B; gpt-oss-20b is an assumption: 20% of the peak at 4 x active.
RATES = {"Llama-3.1-8B": 12_500.0, "gpt-oss-20b": 0.20 * 989e12 / (4 * 3.6e9), "Llama-3.3-70B": 1_092.0}
FABRICS = {"400 Gb/s a device": H100, "200 Gb/s a node": H100.with_fabric(200, DEVICES)}


def chat_length(draw: random.Random) -> float:
    """Tokens of a chat record: log-normal, 600 on average, a long tail, cut at 4,096."""
    return min(4096.0, draw.lognormvariate(6.08, 0.8))


def tables() -> str:
    """Both tables as Markdown."""
    packed = _packed_imbalance()
    spread = {nodes: imbalance(nodes * DEVICES, TOKENS // 600, chat_length, steps=100) for nodes in NODES}
    lines = ["| model | network | base | nodes | tokens/s | per device | of linear | first bottleneck | records at random instead |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for shape in MODELS:
        for network, device in FABRICS.items():
            lines += _rows(shape, network, device, spread, packed)
    return "\n".join([*lines, "", *_sharding()])


def _packed_imbalance() -> float:
    """A row's capacity over its mean filling, of records packed as train.tokens_per_batch packs them."""
    draw = random.Random(0)
    lengths = [int(chat_length(draw)) or 1 for _ in range(20_000)]
    return TOKENS * len(plan_rows(lengths, TOKENS)) / sum(lengths)


def _rows(shape: Shape, network: str, device: Device, spread: dict[int, float], packed: float) -> list[str]:
    rate, lines, single = RATES[shape.name], [], 0.0
    for nodes in NODES:
        cluster = Cluster(nodes, DEVICES)
        shard = narrowest_shard(shape, device, cluster) or "all"
        full = step(
            shape, device, cluster, tokens_per_device=TOKENS, device_tokens_per_s=rate, shard=shard, imbalance=packed
        )
        loose = step(shape, device, cluster, tokens_per_device=TOKENS, device_tokens_per_s=rate, shard=shard,
                     imbalance=spread[nodes])  # fmt: skip
        single = single or full.tokens_per_s
        held = {"none": "on each device", "node": "over a node", "all": "over all"}[shard]
        lines.append(
            f"| {shape.name} | {network} | {held} | {nodes} | {full.tokens_per_s:,.0f} | {full.tokens_per_s / cluster.world:,.0f} "
            f"| {full.tokens_per_s / (nodes * single):.0%} | {full.bottleneck} | {loose.tokens_per_s / full.tokens_per_s - 1:+.0%} |"
        )
    return lines


def _sharding() -> list[str]:
    """What sharding the 70B over all nodes costs, where over one node is enough."""
    shape, lines = (
        MODELS[2],
        ["| 70B on 2 nodes | network | tokens/s per device | against one node |", "|---|---|---|---|"],
    )
    for network, device in FABRICS.items():
        rate = RATES[shape.name]
        one = step(shape, device, Cluster(1, DEVICES), tokens_per_device=TOKENS, device_tokens_per_s=rate, shard="node")
        for shard, words in (("node", "sharded over a node, copied across"), ("all", "sharded over both")):
            both = step(
                shape, device, Cluster(2, DEVICES), tokens_per_device=TOKENS, device_tokens_per_s=rate, shard=shard
            )
            per_device = both.tokens_per_s / 16
            lines.append(f"| {words} | {network} | {per_device:,.0f} | {per_device * 8 / one.tokens_per_s - 1:+.0%} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scaling.md")
    arguments = parser.parse_args()
    made = tables()
    print(made)
    for shape in MODELS:
        print(f"{shape.name}: {model_flops_utilisation(RATES[shape.name], shape.active, H100):.0%} of the peak at 4N")
    if arguments.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(replaced(text, made), encoding="utf-8")
    return 0


def replaced(page: str, made: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
