"""What each cell's training will need of a device, in memory and time: a proposal comes in, figures with their error go out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobs import machine
from jobs.proposal import Proposal
from jobs.tables import duration, table
from sftlib.artifacts.host import cpu_model, has_cpu_bfloat16
from sftlib.config.batching import merged_accumulation
from sftlib.config.cells import Cell
from sftlib.config.estimate.compute import Work, effort, expected_rate, flops, kind_of, share_of_linear
from sftlib.config.estimate.devices import Device, device_named
from sftlib.config.estimate.history import (
    Measured,
    Training,
    counted_tokens,
    counting_key,
    measured_rate,
    read_trainings,
)
from sftlib.config.estimate.lengths import Lengths, computed_share, estimate_lengths
from sftlib.config.estimate.memory import USABLE, Load, Memory, numbers_of, training_memory, with_checkpointing
from sftlib.config.estimate.shape import ModelShape, find_shape
from sftlib.config.steps import effective_batch
from sftlib.config.tree import SFTConfig

_NO_HISTORY_ERROR = 0.5
DeviceOf = Callable[[str | None, str], tuple[Device | None, str]]


@dataclass(frozen=True)
class Estimate:
    """One training on its devices."""

    cell: str
    memory: Memory
    tokens: int
    seconds: float | None
    error: float  # of the seconds, as a share
    device: Device | None
    devices: int
    measured: int  # earlier trainings that the time rests on
    is_counted: bool  # whether an earlier training counted the tokens of these records

    @property
    def fits(self) -> bool | None:
        return None if self.device is None else self.memory.total <= USABLE * self.device.memory_gb

    @property
    def device_hours(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.devices / 3600

    def to_json(self) -> dict[str, Any]:
        return {
            "memory_gb": self.memory.to_json(), "fits": self.fits, "device": self.device and self.device.name,
            "tokens": self.tokens, "seconds": self.seconds and round(self.seconds, 1), "error": round(self.error, 3),
            "device_hours": self.device_hours and round(self.device_hours, 3), "measured_trainings": self.measured,
        }  # fmt: skip


def estimates(proposal: Proposal, runs_dir: Path) -> list[Estimate]:
    """One for each cell that is trained; none where the model's config.json is not on this machine."""
    trainings = read_trainings(runs_dir)
    texts = Texts(proposal, trainings)
    device_of = cache(_device)  # the vendor's tool is asked once, not for each cell
    trained = [cell for cell in proposal.experiment.cells if cell.is_trained]
    found = [_estimate(proposal, cell, texts, trainings, device_of) for cell in trained]
    return [estimate for estimate in found if estimate is not None]


class Texts:
    """Lengths of the training records under a cell's prompt, counted once for cells that ask alike."""

    def __init__(self, proposal: Proposal, trainings: list[Training]) -> None:
        self.split, self._trainings = proposal.splits.get("train"), trainings
        self._known: dict[str, Lengths | None] = {}
        self._ratios: dict[str, float | None] = {}

    def lengths(self, config: SFTConfig) -> Lengths | None:
        if self.split is None:
            return None
        shaping = config.prompt, config.task, config.data, config.train.max_length
        key = repr(shaping)
        if key not in self._known:
            self._known[key] = estimate_lengths(config, self.split.records, self.split.format)
        return self._known[key]

    def counted_ratio(self, config: SFTConfig) -> float | None:
        """Tokens that an earlier training on these records counted, over what their characters tell of it."""
        if not self._trainings:
            return None
        key = counting_key(config)
        if key not in self._ratios:
            counted = counted_tokens(self._trainings, config)
            told = self.lengths(counted.config) if counted else None
            self._ratios[key] = told.ratio_to(counted.tokens) if counted and told else None
        return self._ratios[key]


def _estimate(
    proposal: Proposal, cell: Cell, texts: Texts, trainings: list[Training], device_of: DeviceOf
) -> Estimate | None:
    config = cell.config
    shape, lengths = find_shape(config), texts.lengths(config)
    if shape is None or lengths is None:
        return None
    ratio = texts.counted_ratio(config)
    lengths = lengths.scaled(ratio or 1.0)
    device, name = device_of(config.cluster.device, config.cluster.scheduler)
    config, memory = _memory(config, shape, lengths, device)
    steps = proposal.steps(cell)
    rows = steps * effective_batch(config)
    if _fills_rows(config):
        rows = round(config.train.epochs * proposal.sizes["train"])  # records, however many share a row
    tokens = round(rows * lengths.mean)
    history = measured_rate(trainings, name, kind_of(config))
    work = _work(config, lengths, tokens, steps)
    seconds = _seconds(config, shape, work, tokens, device, history)
    error = history.spread if history and history.count > 1 else _NO_HISTORY_ERROR
    return Estimate(
        cell.id, memory, tokens, seconds, error, device, config.parallel.world_size, history.count if history else 0,
        ratio is not None,
    )  # fmt: skip


def _memory(config: SFTConfig, shape: ModelShape, lengths: Lengths, device: Device | None) -> tuple[SFTConfig, Memory]:
    """With `gradient_checkpointing: auto` decided as the trainer will decide it."""
    on_gpu = device is not None
    numbers = numbers_of(config, on_gpu=on_gpu, has_bfloat16=on_gpu or has_cpu_bfloat16())

    def needed(config: SFTConfig) -> Memory:
        return training_memory(config, shape, _load(config, lengths), numbers, on_gpu=on_gpu)

    if config.train.gradient_checkpointing != "auto":
        return config, needed(config)
    there = device.memory_gb if device else machine.memory_gb() or 0.0
    keeps = needed(with_checkpointing(config, False)).total <= USABLE * there
    decided = with_checkpointing(config, not keeps)
    return decided, needed(decided)


def _device(named: str | None, scheduler: str) -> tuple[Device | None, str]:
    """The device that trains, and the name under which summaries keep it."""
    if named is not None:
        return device_named(named), named
    printed = machine.device_names() if scheduler == "local" and machine.devices() else []
    if printed:
        device = device_named(printed[0].partition(",")[0])
        return device, device.name if device else printed[0].partition(",")[0].strip()
    return None, cpu_model() or "cpu"


def _load(config: SFTConfig, lengths: Lengths) -> Load:
    """The largest batch: full rows where rows are planned, else the longest records together."""
    train = config.train
    longest = min(train.max_length, _rounded(lengths.longest, train.pad_to_multiple))
    length = train.tokens_per_batch or (train.max_length if train.packing else longest)
    tokens = length * (1 if train.tokens_per_batch else train.batch_size)
    share = 1.0 if train.loss_on == "all" else min(1.0, lengths.mean_answer / lengths.mean)
    if not (train.packing or train.tokens_per_batch or train.loss_on == "all"):
        return Load(tokens, round(min(tokens, train.batch_size * 2 * lengths.mean_answer)), longest)
    return Load(tokens, round(tokens * share), length)


def _rounded(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _work(config: SFTConfig, lengths: Lengths, tokens: int, steps: int) -> Work:
    share = 1.0 if config.train.loss_on == "all" else lengths.mean_answer / lengths.mean
    computed = tokens * computed_share(config, lengths)
    return Work(computed, tokens * share, lengths.mean, _passes(config, lengths, tokens, steps))


def _passes(config: SFTConfig, lengths: Lengths, tokens: int, steps: int) -> float:
    """On all devices. Full rows have a size; records that share their beginning make one pass of a step."""
    train = config.train
    if _fills_rows(config):
        return tokens / _load(config, lengths).tokens
    share, accumulation = computed_share(config, lengths), train.gradient_accumulation
    if train.shared_prefix == "on" or share < 1:
        step_tokens = train.batch_size * accumulation * lengths.mean * share
        accumulation = merged_accumulation(accumulation, step_tokens, train.batch_size * lengths.longest)
    return steps * accumulation * config.parallel.world_size


def _fills_rows(config: SFTConfig) -> bool:
    """Whether the number of steps is known only when the rows are planned."""
    train = config.train
    return train.max_steps is None and bool(train.packing or train.tokens_per_batch)


def _seconds(
    config: SFTConfig, shape: ModelShape, work: Work, tokens: int, device: Device | None, history: Measured | None
) -> float | None:
    """None on a device that nothing is known of."""
    if history is None and device is None:
        return None
    if history:
        alone = effort(config, shape, work, on_gpu=device is not None) / history.rate
    else:
        alone = flops(config, shape, work) / expected_rate(config, device)  # type: ignore[arg-type] # one of the two is there
    linear = share_of_linear(config, shape, alone / max(1, tokens), work.mean_length)
    seconds = alone / config.parallel.world_size / linear
    if history is None:
        return seconds
    a_pass = seconds / max(1.0, work.passes / config.parallel.world_size)
    # On a GPU kernels are chosen or compiled, whatever a pass takes; a CPU asks for as much memory as a pass needs.
    return seconds + (history.warm_up_s if device else history.warm_up_passes * a_pass)


def estimate_lines(found: list[Estimate]) -> list[str]:
    """A table of memory and time, cells that need the same on one line, and what the figures rest on."""
    if not found:
        return []
    grouped: dict[str, list[Estimate]] = {}
    for estimate in found:
        grouped.setdefault(json.dumps(estimate.to_json(), sort_keys=True), []).append(estimate)
    rows = [_row(group) for group in grouped.values()]
    head = ["cells", "weights", "adapter", "activations", "logits", "GB a device", "tokens", "time", "device hours"]
    return [*table(head, rows, "<>>>>>>>>"), *_notes(found)]


def _row(group: list[Estimate]) -> list[str]:
    first, memory = group[0], group[0].memory
    names = first.cell if len(group) == 1 else f"{first.cell} and {len(group) - 1} more"
    adapter = memory.adapter + memory.gradients + memory.optimiser
    hours = f"{first.device_hours * len(group):.2f}" if first.device_hours is not None else "-"
    total = f"{memory.total:.1f}" + (f" of {first.device.memory_gb:g}" if first.device else "")
    return [
        names, f"{memory.weights:.1f}", f"{adapter:.1f}", f"{memory.activations + memory.workspace:.1f}",
        f"{memory.logits:.1f}", total, f"{first.tokens:,}", duration(first.seconds) or "-", hours,
    ]  # fmt: skip


def _notes(found: list[Estimate]) -> list[str]:
    notes = []
    most = max(found, key=lambda estimate: estimate.memory.total)
    if any(estimate.fits is False for estimate in found):
        notes.append(
            f"  {most.cell} does not fit: lower train.batch_size or train.max_length, set train.gradient_checkpointing, "
            "or model.quantization.kind nf4"
        )
    if most.seconds is None:
        notes.append("  time: nothing was trained on this device yet; `cluster.device` names a GPU to plan for")
    elif most.measured:
        notes.append(f"  time: as {most.measured} earlier trainings here ran, give or take {most.error:.0%}")
    else:
        notes.append("  time: from a typical share of the device's peak; may be off by half until a training ran on it")
    if most.is_counted:
        return [*notes, "  tokens: as an earlier training on these records counted them"]
    return [*notes, "  tokens: from characters, four to a token"]
