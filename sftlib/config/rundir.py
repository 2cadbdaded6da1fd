"""A run directory made from an experiment, and read again: run.json, and one config.json a cell, written once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import sftlib
from sftlib.artifacts.adapters import read_adapter_record, read_merged_record, weights_digest
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.hashing import sha256_value
from sftlib.config.cells import Cell, result_settings
from sftlib.config.inputs import Split, named_splits, read_split, split_digest
from sftlib.config.load import Experiment, load_experiment
from sftlib.config.sources import staged_folder
from sftlib.config.tree import SFTConfig
from sftlib.errors import CorruptError, DataError, InputError
from sftlib.paths import RunPaths, latest_link

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CellRecord:
    """A cell as run.json lists it."""

    id: str
    is_baseline: bool
    digest: str
    overrides: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run directory and what its run.json says."""

    paths: RunPaths
    config: SFTConfig
    cells: list[CellRecord]
    inputs: dict[str, Any]  # split -> {"path", "sha256", "count"}
    record: dict[str, Any]

    @property
    def num_shards(self) -> int:
        """Never more shards than test records."""
        return min(self.config.predict.num_shards, self.test_count)

    @property
    def test_count(self) -> int:
        return int(self.inputs["test"]["count"])

    def cell(self, name: str) -> CellRecord:
        for cell in self.cells:
            if cell.id == name:
                return cell
        raise InputError(f"{self.paths.root} has no cell {name!r}; it has: {', '.join(cell.id for cell in self.cells)}")

    def learns(self, cell: CellRecord) -> bool:
        """Whether weights are learnt for it; a baseline has none, and an adapter that is there is taken over."""
        return not cell.is_baseline and cell.overrides.get("lora.adapter", self.config.lora.adapter) is None

    def known_parts(self, name: str) -> dict[str, str | None]:
        """What a valid shard of this cell must have been predicted with, as far as the run directory tells."""
        parts: dict[str, str | None] = {"test": self.inputs["test"]["sha256"], "adapter": None}
        if not self.cell(name).is_baseline and (adapter := read_adapter_record(self.paths.cell(name).adapter)):
            parts |= {"adapter": adapter.weights_sha256, "base": adapter.base, "prompt": adapter.prompt_sha256}
        return parts

    def why_untrained(self, name: str, *, deep: bool) -> str:
        """Why the cell's adapter is not there as it should be; "" when it is. `deep` hashes the weights."""
        paths = self.paths.cell(name)
        try:
            summary, record = read_json(paths.summary), read_adapter_record(paths.adapter)
        except CorruptError:
            return "no summary"
        if not isinstance(summary, dict) or summary.get("complete") is not True:
            return "training did not reach its end"
        if summary.get("config_sha256") != self.record["cell_configs"][name]:
            return "trained with another configuration"
        if record is None or record.weights_sha256 != summary.get("adapter_sha256"):
            return "the adapter is not the one of the summary"
        if deep and weights_digest(paths.adapter) != record.weights_sha256:
            return "the adapter's weights are not those that were written"
        return ""

    def why_unmerged(self, name: str) -> str:
        """Why the cell's merged model is not there as it should be; "" when it is."""
        record = read_merged_record(self.paths.cell(name).merged)
        if record is None:
            return "no merged model"
        return "" if record.adapter_sha256 == self.known_parts(name)["adapter"] else "the adapter is another by now"

    def split(self, config: SFTConfig, name: str) -> Split:
        """The records of a split; refused when its file is not the one that the run was planned with."""
        self.check_inputs(config, [name])
        return read_split(config, name)

    def check_inputs(self, config: SFTConfig, names: Iterable[str]) -> None:
        """Refuse a split whose file is not the one that the run was planned with; no record is read for it."""
        for name in names:
            if split_digest(config, name) != self.inputs[name]["sha256"]:
                raise DataError(
                    f"{self.inputs[name]['path']} was changed after the run was planned: "
                    f"start a new run (sft run EXPERIMENT)"
                )

    def cell_config(self, name: str) -> SFTConfig:
        """The typed tree of one cell, checked against the hash that run.json recorded."""
        paths = self.paths.cell(self.cell(name).id)
        values = read_json(paths.config)
        if sha256_value(values) != self.record["cell_configs"][name]:
            raise CorruptError(f"{paths.config} was changed after it was written: start a new run for other settings")
        return _settings(values, paths.config)


def run_digest(experiment: Experiment, splits: dict[str, Split]) -> str:
    """The hash in a run directory's name: of all settings that shape results, and of the data's content."""
    settings = [[cell.id, result_settings(cell.config)] for cell in experiment.cells]
    report = experiment.config.report.model_dump(mode="json")
    shards = experiment.config.predict.num_shards
    return sha256_value([settings, report, shards, {name: split.sha256 for name, split in splits.items()}])


def run_root(experiment: Experiment, splits: dict[str, Split], runs_dir: Path) -> Path:
    name = "-".join(experiment.config.name.split())
    return runs_dir.absolute() / f"{name}-{run_digest(experiment, splits)[:8]}"


def prepare_run(experiment: Experiment, splits: dict[str, Split], runs_dir: Path, receipt: dict[str, Any]) -> Run:
    """Make the run directory, or find it made: the same experiment and data give the same folder."""
    paths = RunPaths(run_root(experiment, splits, runs_dir))
    if not paths.record.exists():
        _write(experiment, splits, paths, receipt)
    _point_latest(runs_dir.absolute(), paths.root)
    return open_run(paths.root)


def _write(experiment: Experiment, splits: dict[str, Split], paths: RunPaths, receipt: dict[str, Any]) -> None:
    hashes = {}
    for cell in experiment.cells:
        values = cell.config.to_dict()
        hashes[cell.id] = sha256_value(values)
        write_json(paths.cell(cell.id).config, values)
    write_json(  # last: a run directory without run.json was never made
        paths.record,
        {
            "schema_version": SCHEMA_VERSION,
            "sftlib": sftlib.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "experiment": str(experiment.path.absolute()),
            "config": experiment.config.to_dict(),
            "cells": [_cell_record(cell) for cell in experiment.cells],
            "cell_configs": hashes,
            "inputs": {name: _input_record(split) for name, split in splits.items()},
            "receipt": receipt,
        },
    )


def _cell_record(cell: Cell) -> dict[str, Any]:
    return {"id": cell.id, "is_baseline": cell.is_baseline, "digest": cell.digest, "overrides": cell.overrides}


def _input_record(split: Split) -> dict[str, Any]:
    where = (
        {"path": split.source.path} if split.source.path else {"path": split.source.hub, "revision": _revision(split)}
    )
    return {**where, "sha256": split.sha256, "count": len(split), "dropped": split.dropped}


def _revision(split: Split) -> str | None:
    """The commit of a Hub data set that was read, whatever name asked for it."""
    return staged_folder(split.source.hub, split.source.revision).name if split.source.hub else None


def _point_latest(runs_dir: Path, root: Path) -> None:
    link = latest_link(runs_dir)
    if link.exists() and not link.is_symlink():
        return
    temporary = runs_dir / f".latest.{root.name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(root.name)
    temporary.replace(link)


def open_run(root: Path) -> Run:
    """Read a run directory; raises InputError when it is none."""
    paths = RunPaths(root.resolve())
    if not paths.record.exists():
        raise InputError(
            f"{root} is not a run directory: it has no {paths.record.name}; `sft run EXPERIMENT` makes one"
        )
    record = read_json(paths.record)
    if record.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{paths.record} has schema version {record.get('schema_version')}, this sftlib reads {SCHEMA_VERSION}"
        )
    cells = [CellRecord(**cell) for cell in record["cells"]]
    return Run(paths, _settings(record["config"], paths.record), cells, record["inputs"], record)


def _settings(values: dict[str, Any], file: Path) -> SFTConfig:
    """The settings as they were resolved; raises InputError where another version of sftlib wrote them."""
    try:
        return SFTConfig.model_validate(values)
    except ValidationError as error:
        keys = ", ".join(".".join(str(part) for part in found["loc"]) for found in error.errors()[:5])
        raise InputError(
            f"{file} holds settings that this sftlib ({sftlib.__version__}) reads otherwise: {keys}; "
            f"use the version that made the run (its `receipt` names it), or run the experiment again"
        ) from None


def read_json(path: Path) -> Any:
    """A JSON file of the run; raises CorruptError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptError(f"{path} is missing: the run directory is not whole; run the experiment again") from None
    except ValueError as error:
        raise CorruptError(f"{path} is not readable as JSON: {error}") from None


def read_splits(experiment: Experiment) -> dict[str, Split]:
    """Every split that the experiment names, read and checked."""
    return {name: read_split(experiment.config, name) for name in named_splits(experiment.config)}


def open_target(target: Path, overrides: list[str], runs_dir: Path) -> Run:
    """A run directory as it is, or the one that an experiment file makes."""
    if target.is_dir():
        return open_run(target)
    from sftlib.artifacts.receipt import submission_receipt

    experiment = load_experiment(target, overrides, "local")
    return prepare_run(experiment, read_splits(experiment), runs_dir, submission_receipt(target, overrides))
