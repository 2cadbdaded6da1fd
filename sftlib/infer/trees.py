"""The labels of a task as one tree of tokens: what labels share is run once, and their last tokens not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelTree:
    """`tokens` are run behind the prompt; `readings` say where each label reads the probability of which token."""

    tokens: list[int]
    parents: list[int]  # of each node: another node, or -1 for the prompt's end
    readings: list[list[tuple[int, int]]]  # a label's (place, token); place 0: prompt's end, i + 1: node i

    @property
    def depths(self) -> list[int]:
        """Of each node: how far it is behind the prompt's end, from 0."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    @property
    def ancestors(self) -> list[list[bool]]:
        """Of each node: which nodes it may look at; itself among them."""
        rows: list[list[bool]] = []
        for node, parent in enumerate(self.parents):
            row = list(rows[parent]) if parent >= 0 else [False] * len(self.tokens)
            row[node] = True
            rows.append(row)
        return rows


def grow_tree(labels: Sequence[Sequence[int]]) -> LabelTree:
    """The tree of these token sequences; none is empty."""
    tokens: list[int] = []
    parents: list[int] = []
    known: dict[tuple[int, int], int] = {}
    readings = []
    for ids in labels:
        node, reading = -1, []
        for at, token in enumerate(ids):
            reading.append((node + 1, token))
            if at == len(ids) - 1:
                break
            if (node, token) not in known:
                known[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = known[node, token]
        readings.append(reading)
    return LabelTree(tokens, parents, readings)
