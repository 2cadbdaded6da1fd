"""Validate an experiment and show what `sft run` would do: data, cells, shards, elements. Submits and writes nothing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.audit import refuse_audited
from jobs.commands.options import add_experiment, add_json, load
from jobs.estimate import Estimate, estimate_lines, estimates
from jobs.placement import check_placement
from jobs.plan import FOLD, MERGE, PREDICT, PREPARE, TRAIN, Element
from jobs.proposal import Proposal, propose, split_counts
from jobs.tables import number, pairs, plural, shorten, shown, table
from sftlib.config.cells import Cell
from sftlib.config.inputs import Split
from sftlib.config.problems import ConfigError
from sftlib.config.selection import origin_of
from sftlib.config.steps import effective_batch
from sftlib.config.tree import SFTConfig
from sftlib.errors import DONE

EXAMPLE = """examples:
  sft plan configs/experiments/demo_cpu.yaml
  sft plan configs/experiments/demo_cpu.yaml --cluster local --set train.learning_rate=1e-4,2e-4"""
_MOST_CELLS, _MOST_VALUES, _WIDTH = 30, 8, 98


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    add_json(parser)
    parser.add_argument("--scripts", action="store_true", help="also print each sbatch script as it would be submitted")


def run(args: argparse.Namespace) -> int:
    try:
        proposal = propose(load(args), args.runs_dir)
        check_placement(*proposal.placement)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"problems": [problem.as_json() for problem in error.problems]}, indent=2))
        raise
    refuse_audited(proposal.root, proposal.experiment.config.data.accept)
    found = estimates(proposal, args.runs_dir)
    print(json.dumps(_json(proposal, found), indent=2) if args.json else "\n".join(plan_lines(proposal, found)))
    if args.scripts and not args.json:
        print("\n".join(_scripts(proposal)))
    return DONE


def _scripts(proposal: Proposal) -> Iterator[str]:
    """What sbatch would get, array by array."""
    from jobs.slurm.preview import preview, scripts

    config = proposal.experiment.config
    if config.cluster.scheduler != "slurm":
        yield "\nno scripts: the local scheduler starts its elements itself (--cluster slurm)"
        return
    for array, text in scripts(*preview(proposal.root, config, proposal.elements)):
        names = ", ".join(element.id for element in array.elements[:_MOST_VALUES])
        more = ", ..." if len(array.elements) > _MOST_VALUES else ""
        yield f"\n##### {array.name}: {plural(len(array.elements), 'element')}: {names}{more}\n{text}"


def _json(proposal: Proposal, found: list[Estimate]) -> dict[str, Any]:
    by_cell = {estimate.cell: estimate.to_json() for estimate in found}
    plan = proposal.to_json()
    return {**plan, "cells": [{**cell, "estimate": by_cell.get(cell["id"])} for cell in plan["cells"]]}


def plan_lines(proposal: Proposal, found: list[Estimate]) -> list[str]:
    """The plan as one page."""
    return [
        *_head(proposal),
        "",
        "cells",
        *_cells(proposal),
        "",
        *_estimate(found),
        "elements",
        *_elements(proposal),
        "",
        *_foot(proposal),
    ]


def _head(proposal: Proposal) -> list[str]:
    config = proposal.experiment.config
    lines = [("experiment", config.name), ("", shorten(config.description, _WIDTH - 14)), ("model", _model(config))]
    for name in proposal.sizes:
        lines += _data(proposal, name)
    lines += [("predict", f"{config.predict.method}, {plural(proposal.num_shards, 'shard')} a cell")]
    return pairs([(name, value) for name, value in lines if value])


def _model(config: SFTConfig) -> str:
    if not config.lora.enabled:
        return f"{config.model.name_or_path}, all weights trained"
    base = "" if config.model.quantization.kind == "none" else f", {config.model.quantization.kind} base"
    return f"{config.model.name_or_path}{base}, LoRA r={config.lora.r} on {shown(config.lora.target_modules)}"


def _data(proposal: Proposal, name: str) -> Iterator[tuple[str, str]]:
    split, data = proposal.splits[name], proposal.experiment.config.data
    records = plural(len(split), "record")
    taken = f" of {number(split.available)}" if split.available != len(split) else ""
    taken += ", split off train" if origin_of(data, name) != name else ""
    dropped = "".join(f", {number(count)} dropped by {why}" for why, count in split.dropped.items() if count)
    yield name, f"{records}{taken}, {split.format}{dropped}"
    for fault in split.faults:
        yield "", shorten(f"  {fault.replace(_folder(split), '')}", _WIDTH - 14)
    for column, values in split_counts(proposal, name).items():
        text = ", ".join(f"{value} {number(count)}" for value, count in values[:_MOST_VALUES])
        more = f", {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
        yield "", shorten(f"  {column}: {text}{more}", _WIDTH - 14)


def _folder(split: Split) -> str:
    return f"{Path(split.source.path).parent}/" if split.source.path else "/dev/null/"


def _cells(proposal: Proposal) -> list[str]:
    cells = proposal.experiment.cells
    rows = [_cell(proposal, cell) for cell in cells[:_MOST_CELLS]]
    more = [f"  ... and {len(cells) - _MOST_CELLS} more (--json lists all)"] if len(cells) > _MOST_CELLS else []
    return [*table(["id", "overrides", "batch", "steps"], rows, "<<>>"), *more]


def _cell(proposal: Proposal, cell: Cell) -> list[str]:
    if cell.is_baseline:
        return [cell.id, "the base model, no adapter", "", ""]
    overrides = ", ".join(f"{key}={shown(value)}" for key, value in cell.overrides.items()) or "none"
    if not cell.is_trained:
        return [cell.id, shorten(f"an adapter that is there: {cell.config.lora.adapter}", 72), "", ""]
    at_most = "<=" if cell.config.train.packing or cell.config.train.tokens_per_batch else ""
    return [
        cell.id, shorten(overrides, 48), number(effective_batch(cell.config)), at_most + number(proposal.steps(cell)),
    ]  # fmt: skip


def _estimate(found: list[Estimate]) -> list[str]:
    return ["estimate of training", *estimate_lines(found), ""] if found else []


_AFTER = {
    PREPARE: "", TRAIN: "", PREDICT: "train of its cell; the baseline: nothing", FOLD: "train of its cell",
    MERGE: "all, whatever became of them",
}  # fmt: skip


def _elements(proposal: Proposal) -> list[str]:
    # By setting too: an adapter that is there is copied with less than a training has.
    groups: dict[tuple[str, str], list[Element]] = {}
    for element in proposal.elements:
        groups.setdefault((element.kind, element.setting), []).append(element)
    rows = [
        [kind, number(len(group)), _each(proposal, group[0]), _AFTER[kind] or ", ".join(group[0].after)]
        for (kind, _), group in groups.items()
    ]
    return table(["stage", "elements", "each", "after"], rows, "<><<")


def _each(proposal: Proposal, element: Element) -> str:
    """What one element takes: threads here, a request to the scheduler there."""
    config, resources = proposal.experiment.config, element.resources
    if config.cluster.scheduler == "local":
        return plural(config.train.threads, "thread") if element.kind != MERGE else "1 thread"
    nodes = f"{element.nodes} x " if element.nodes > 1 else ""
    memory = f", {resources.memory_gb} GB" if resources.memory_gb else ""
    gpus = f", {plural(resources.gpus, 'GPU')}" if resources.gpus else ""
    return f"{nodes}{plural(resources.cpus, 'CPU')}{memory}{gpus}, {resources.time_min} min"


def _foot(proposal: Proposal) -> list[str]:
    exists = " (exists: only what is missing would run)" if proposal.exists else ""
    profile = proposal.experiment.config.cluster.profile
    return pairs([("cluster", str(profile)), ("run directory", f"{proposal.root}{exists}")])
