"""Cells and what is needed of them in, elements out: what runs, with which arguments, after what, asking for what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sftlib.config.cluster import Resources
from sftlib.config.tree import SFTConfig

PREPARE, TRAIN, PREDICT, FOLD, MERGE = "prepare", "train", "predict", "fold", "merge"
STAGES = (PREPARE, TRAIN, PREDICT, FOLD, MERGE)
AFTER_OK, AFTER_ANY = "afterok", "afterany"

ConfigOf = Callable[[str], SFTConfig]  # of a cell


class NamedCell(Protocol):
    """A cell of an experiment, or as run.json lists it."""

    @property
    def id(self) -> str: ...

    @property
    def is_baseline(self) -> bool: ...


@dataclass(frozen=True)
class Need:
    """What is to be done, whoever runs it."""

    train: tuple[str, ...]  # cells
    shards: Mapping[str, tuple[int, ...]]  # cell -> shard indices
    merge: bool
    fold: tuple[str, ...] = ()  # cells whose adapter goes into its base

    @property
    def is_nothing(self) -> bool:
        return not (self.train or self.shards or self.merge or self.fold)


@dataclass(frozen=True)
class Element:
    """What one job does: the token cache, a cell's training, a range of its shards, its merged model, or the merge."""

    id: str
    kind: str
    argv: tuple[str, ...]  # after `python -m sftlib`
    resources: Resources
    section: str = ""  # of `cluster`, where the resources are asked for, if not as its kind
    nodes: int = 1
    processes: int = 1  # on each node; more than one in all: torchrun starts them
    workers: int = 1  # processes that the stage itself starts
    cell: str | None = None
    shards: range | None = None
    after: tuple[str, ...] = ()
    condition: str = AFTER_OK

    @property
    def setting(self) -> str:
        """Where a user asks for more."""
        return f"cluster.{self.section or self.kind}"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "kind": self.kind, "cell": self.cell, "shards": list(self.shards or ()) or None,
            "argv": list(self.argv), "after": list(self.after), "condition": self.condition if self.after else None,
            "nodes": self.nodes, "processes": self.processes, "workers": self.workers, "resources": self.resources.model_dump(mode="json"),
        }  # fmt: skip


def full_need(cells: Sequence[NamedCell], num_shards: int, *, fold: bool = False) -> Need:
    """Everything: an experiment that has not run yet."""
    train = tuple(cell.id for cell in cells if not cell.is_baseline)
    return Need(train, {cell.id: tuple(range(num_shards)) for cell in cells}, merge=True, fold=train if fold else ())


def folds(config: SFTConfig) -> bool:
    """Whether the experiment asks for merged models; what was trained whole is one already."""
    return config.train.save_merged_model and config.lora.enabled


def plan_elements(root: Path, config: SFTConfig, need: Need, config_of: ConfigOf) -> list[Element]:
    """The elements that fill `need`, in the order prepare, train, predict, fold, merge."""
    learns = any(config_of(cell).lora.adapter is None for cell in need.train)
    elements = [_prepare(root, config)] if learns and prepares_first(config) else []
    after = tuple(element.id for element in elements)
    elements += [_train(root, config, cell, config_of(cell), after) for cell in need.train]
    for cell, shards in need.shards.items():
        after = (train_id(cell),) if cell in need.train else ()
        for part in group_shards(shards, config.predict.shards_per_job):
            elements.append(_predict(root, config, cell, part, after))
    elements += [_fold(root, config, cell, (train_id(cell),) if cell in need.train else ()) for cell in need.fold]
    if need.merge:
        elements.append(_merge(root, config, elements))
    return elements


def prepares_first(config: SFTConfig) -> bool:
    """Whether a job without devices fills the token cache, so that none waits for a tokenizer. On one machine the
    first training fills it: the same code, without a process of its own."""
    return config.cluster.scheduler != "local" and config.data.cache


def train_id(cell: str) -> str:
    return f"{TRAIN}/{cell}"


def predict_id(cell: str, shards: range) -> str:
    return f"{PREDICT}/{cell}/{_span(shards)}"


def shards_in(element: str) -> range:
    """The shards of `predict/CELL/4-7`; empty for an element that has none."""
    first, _, last = element.rpartition("/")[2].partition("-")
    return range(int(first), int(last) + 1) if first.isdigit() and last.isdigit() else range(0)


def _span(shards: range) -> str:
    return f"{shards[0]}-{shards[-1]}"


def group_shards(shards: Iterable[int], per_job: int) -> Iterator[range]:
    """Contiguous ranges of at most `per_job` shards that cover exactly these."""
    start = end = None
    for shard in sorted(shards):
        if start is None or end is None:
            start = end = shard
        elif shard == end + 1 and shard - start < per_job:
            end = shard
        else:
            yield range(start, end + 1)
            start = end = shard
    if start is not None and end is not None:
        yield range(start, end + 1)


def _prepare(root: Path, config: SFTConfig) -> Element:
    return Element(PREPARE, PREPARE, ("data", "build", str(root)), _with_gpus(config.cluster.prepare, 0))


def _train(root: Path, config: SFTConfig, cell: str, own: SFTConfig, after: tuple[str, ...]) -> Element:
    argv = (TRAIN, str(root), "--cell", cell)
    if own.lora.adapter is not None:  # copied: no device, and no tokens
        resources = _with_gpus(config.cluster.prepare, 0)
        return Element(train_id(cell), TRAIN, argv, resources, PREPARE, cell=cell)
    parallel = own.parallel
    resources = _with_gpus(config.cluster.train, parallel.gpus_per_node)
    return Element(
        train_id(cell), TRAIN, argv, resources, nodes=parallel.nodes, processes=parallel.gpus_per_node, cell=cell,
        after=after,
    )  # fmt: skip


def _predict(root: Path, config: SFTConfig, cell: str, shards: range, after: tuple[str, ...]) -> Element:
    argv = (PREDICT, str(root), "--cell", cell, "--shards", _span(shards))
    workers = min(config.predict.workers or 1, config.predict.shards_per_job)  # a worker without a shard does not start
    resources = _with_gpus(config.cluster.predict, workers)
    return Element(
        predict_id(cell, shards), PREDICT, argv, resources, workers=workers, cell=cell, shards=shards, after=after
    )  # fmt: skip


def _fold(root: Path, config: SFTConfig, cell: str, after: tuple[str, ...]) -> Element:
    """It asks for what a prediction takes: the merged model answers test records to prove itself."""
    argv = ("adapter", "merge", str(root), "--cell", cell)
    return Element(f"{FOLD}/{cell}", FOLD, argv, _with_gpus(config.cluster.predict, 1), PREDICT, cell=cell, after=after)


def _merge(root: Path, config: SFTConfig, others: list[Element]) -> Element:
    resources = _with_gpus(config.cluster.merge, 0)
    after = tuple(element.id for element in others)
    return Element(MERGE, MERGE, (MERGE, str(root)), resources, after=after, condition=AFTER_ANY)


def _with_gpus(resources: Resources, default: int) -> Resources:
    return resources if resources.gpus is not None else resources.model_copy(update={"gpus": default})
