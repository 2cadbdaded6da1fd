"""An experiment and its data in, everything that would be submitted out, with every problem found; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.plan import Element, folds, full_need, plan_elements
from sftlib.config.cells import Cell
from sftlib.config.inputs import Split, named_splits, read_split, sample_ids
from sftlib.config.load import Experiment
from sftlib.config.problems import ConfigError, Problem
from sftlib.config.rundir import run_root
from sftlib.config.steps import effective_batch, total_steps
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError
from sftlib.paths import RunPaths


@dataclass(frozen=True)
class Proposal:
    """A valid experiment as it would be run."""

    experiment: Experiment
    splits: dict[str, Split]
    root: Path
    num_shards: int
    elements: list[Element]

    @property
    def exists(self) -> bool:
        return RunPaths(self.root).record.exists()

    @property
    def placement(self) -> tuple[Path, SFTConfig, list[SFTConfig], list[Element]]:
        """What jobs.placement looks at."""
        cells = [cell.config for cell in self.experiment.cells]
        return self.root, self.experiment.config, cells, self.elements

    @property
    def sizes(self) -> dict[str, int]:
        """Records of each split."""
        return {name: len(split) for name, split in self.splits.items()}

    def steps(self, cell: Cell) -> int:
        sample = cell.config.data.sample_size  # cells may differ in it
        records = min(sample, self.splits["train"].available) if sample else self.sizes["train"]
        return total_steps(cell.config, records)

    def to_json(self) -> dict[str, Any]:
        return {
            "experiment": str(self.experiment.path), "name": self.experiment.config.name,
            "run_dir": str(self.root), "exists": self.exists,
            "data": {name: split_json(self, name) for name in self.sizes}, "num_shards": self.num_shards,
            "cells": [self._cell_json(cell) for cell in self.experiment.cells],
            "elements": [element.to_json() for element in self.elements], "problems": [],
        }  # fmt: skip

    def _cell_json(self, cell: Cell) -> dict[str, Any]:
        base = {"id": cell.id, "is_baseline": cell.is_baseline, "overrides": cell.overrides}
        if not cell.is_trained:
            return base
        return {**base, "effective_batch": effective_batch(cell.config), "optimiser_steps": self.steps(cell)}


def split_json(proposal: Proposal, name: str) -> dict[str, Any]:
    split = proposal.splits[name]
    counts = {column: dict(values) for column, values in split_counts(proposal, name).items()}
    origin = {"path": split.source.path} if split.source.path else {"hub": split.source.hub}
    told = {"format": split.format, "available": split.available, "dropped": split.dropped, "faults": split.faults}
    return {"records": len(split), **origin, **told, "counts": counts}


def split_counts(proposal: Proposal, name: str) -> dict[str, list[tuple[str, int]]]:
    """Column -> its values by frequency, for the label and the groups."""
    split, data = proposal.splits[name], proposal.experiment.config.data
    columns = [data.label_column, *data.group_columns]
    named = [column for column in columns if any(column in record.fields for record in split.records)]
    return {column: split.count(column).most_common() for column in named}


def propose(experiment: Experiment, runs_dir: Path) -> Proposal:
    """Expand cells, read the data, lay out the elements; raises ConfigError with every problem of cells and data."""
    splits = read_checked(experiment)
    num_shards = min(experiment.config.predict.num_shards, len(splits["test"]))
    root = run_root(experiment, splits, runs_dir)
    need = full_need(experiment.cells, num_shards, fold=folds(experiment.config))
    configs = {cell.id: cell.config for cell in experiment.cells}
    elements = plan_elements(root, experiment.config, need, configs.__getitem__)
    return Proposal(experiment, splits, root, num_shards, elements)


def read_checked(experiment: Experiment) -> dict[str, Split]:
    """Every split, read and checked, and the cells expanded; all that is wrong at once."""
    problems: list[Problem] = []
    splits: dict[str, Split] = {}
    try:
        assert experiment.cells
    except ConfigError as error:
        problems += error.problems
    for name in named_splits(experiment.config):
        try:
            splits[name] = read_split(experiment.config, name)
            sample_ids(splits[name].records, experiment.config.data.id_column)
        except DataError as error:
            if any(problem.message == str(error) for problem in problems):
                continue  # a part of train has train's faults
            key = f"data.{name}" if getattr(experiment.config.data, name) else f"data.{name}_size"
            problems.append(Problem(key, str(error), place=experiment.layers.place(key)))
    if problems:
        raise ConfigError(problems)
    return splits
