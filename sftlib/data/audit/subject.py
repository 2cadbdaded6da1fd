"""What is audited: the splits of an experiment, a run or bare files, read to the end even where a run would stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from sftlib.artifacts.records import Record
from sftlib.config.columns import named_records, shown_names
from sftlib.config.data import Source
from sftlib.config.formats import check_record, detect_format
from sftlib.config.inputs import Split, named_splits, read_split, sample_ids, split_digest
from sftlib.config.load import is_experiment, load_experiment, parse
from sftlib.config.problems import ConfigError
from sftlib.config.references import get_key, resolve, with_key
from sftlib.config.rundir import Run, open_run
from sftlib.config.selection import origin_of
from sftlib.config.sources import source_files
from sftlib.config.tree import SFTConfig
from sftlib.config.values import matches, value_text
from sftlib.data.audit.entries import Entry, Part, normalised, spelled_label
from sftlib.data.audit.guessing import files_by_split, guessed_settings
from sftlib.data.audit.prompts import Frame, asked_of, common_frames
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import DataError, InputError
from sftlib.paths import RunPaths

MOST_STREAMED = 200_000  # records of a streamed split: with their texts they must fit in memory here
_CONTENT_SETTINGS = ("prompt", "task", "model")  # what a cell may change of prompts, targets and tokens
_TRAIN_SETTINGS = ("max_length", "overlong", "loss_on")


@dataclass(frozen=True)
class View:
    """Cells that see the records alike: same prompt, task, tokenizer and limits."""

    config: SFTConfig
    cells: list[str]


@dataclass(frozen=True)
class Subject:
    """What is audited, and how it was understood."""

    title: str
    config: SFTConfig
    views: list[View]
    parts: dict[str, Part]
    run: Run | None = None
    guessed: list[str] = field(default_factory=list)


def experiment_subject(path: Path, overrides: list[str], profile: str | None = None) -> Subject:
    experiment = load_experiment(path, overrides, profile)
    views = _views([(cell.id, cell.config) for cell in experiment.trained_cells])
    return Subject(experiment.config.name, experiment.config, views, read_parts(experiment.config, views[0].config))


def run_subject(root: Path) -> Subject:
    run = open_run(root)
    own = [cell for cell in run.cells if not cell.is_baseline]
    views = _views([(cell.id, run.cell_config(cell.id)) for cell in own or run.cells])  # the base may be there alone
    parts = read_parts(run.config, views[0].config)
    for name, part in parts.items():
        if name in run.inputs and part.sha256 and part.sha256 != run.inputs[name]["sha256"]:
            raise DataError(f"{part.path} was changed after the run was planned: start a new run (sft run EXPERIMENT)")
    return Subject(f"{run.config.name} ({root})", run.config, views, parts, run)


def data_subject(target: Path, others: dict[str, Path], settings: dict[str, Any]) -> Subject:
    """Bare files: what an experiment would say is guessed from the records, and said."""
    files = {**files_by_split(target), **others}
    values, problems = resolve(settings, Path.cwd())
    values, guessed = guessed_settings(values, files)
    if get_key(values, "model.name_or_path") is None:
        values = with_key(values, "model.name_or_path", "")  # no tokenizer that nobody asked for
    config, further = parse(values, lambda key: "--set")
    if config is None or problems or further:
        raise ConfigError([*problems, *further])
    return Subject(str(target), config, [View(config, [])], read_parts(config, config), guessed=guessed)


def _views(cells: list[tuple[str, SFTConfig]]) -> list[View]:
    views: list[View] = []
    keys: list[Any] = []
    for name, config in cells:
        key = _view_key(config)
        if key in keys:
            views[keys.index(key)].cells.append(name)
        else:
            keys.append(key)
            views.append(View(config, [name]))
    return views


def _view_key(config: SFTConfig) -> Any:
    tree = config.to_dict()
    return (
        [tree[name] for name in _CONTENT_SETTINGS] + [tree["train"][name] for name in _TRAIN_SETTINGS] + [tree["data"]]
    )


def read_parts(named: SFTConfig, config: SFTConfig) -> dict[str, Part]:
    """Every split that `named` has, with samples as `config` (of one view) makes them."""
    return {name: read_part(config, name) for name in named_splits(named)}


def read_part(config: SFTConfig, name: str) -> Part:
    """A split with the records that a run would refuse set aside, instead of stopping at them."""
    lenient = config.model_copy(update={"data": config.data.model_copy(update={"faulty": "drop"})})
    split = read_split(lenient, name)
    records = list(islice(split.records, MOST_STREAMED if config.data.streaming else None))
    refused = _refused(lenient, name) if split.dropped.get("data.faulty") else []
    refused += _ids_fault(records, config)
    samples: list[tuple[Record, Sample]] = []
    for record, outcome in _samples(records, split, config):
        if isinstance(outcome, Sample):
            samples.append((record, outcome))
        else:
            refused.append(("unreadable", record.place, outcome))
    entries = [*_entries(samples, split.format, config)]
    empty = [entry for entry in entries if not entry.text.strip() or not (entry.sample.target or "-").strip()]
    refused += [("empty", entry.place, f"{entry.place} has an empty text or answer") for entry in empty]
    gone = {id(entry) for entry in empty}
    return Part(
        name, str(split.source.path or split.source.hub), split.format, split_digest(config, name),
        [entry for entry in entries if id(entry) not in gone], refused,
        where=dict(split.source.where) if origin_of(config.data, name) == name else {},
        origin=origin_of(config.data, name), is_whole=len(records) == len(split), stops=config.data.faulty == "error",
    )  # fmt: skip


def _refused(config: SFTConfig, name: str) -> list[tuple[str, str, str]]:
    """Kind, place and reason of every record that the reader refuses; those of a part of train are told with train."""
    if origin_of(config.data, name) != name:
        return []
    source: Source = getattr(config.data, name)
    refused: list[tuple[str, str, str]] = []
    fmt: str = "formatting_func" if config.data.formatting_func else config.data.format
    for record in named_records(
        source_files(source, name),
        lambda fault: refused.append(("unreadable", str(fault).partition(": ")[0], str(fault))),
        config,
    ):
        if not matches(record.fields, source.where):
            continue
        try:
            if fmt == "auto":
                fmt = detect_format(record.fields, config.data)
            check_record(record, fmt, config)
        except DataError as fault:
            text = record.fields.get(config.data.text_column)
            is_empty = fmt == "labelled" and (text is None or (isinstance(text, str) and not text.strip()))
            refused.append(("empty" if is_empty else "unreadable", record.place, str(fault)))
    return refused


def _ids_fault(records: list[Record], config: SFTConfig) -> list[tuple[str, str, str]]:
    try:
        sample_ids(records, config.data.id_column)
    except DataError as error:
        return [("unreadable", str(config.data.id_column), str(error))]
    return []


def _samples(records: Sequence[Record], split: Split, config: SFTConfig) -> Iterator[tuple[Record, Sample | str]]:
    """Each record with its sample, or why it has none: halves are tried until the bad ones stand alone."""
    if not records:
        return
    try:
        yield from zip(records, samples_of(replace(split, records=records), config), strict=True)
    except DataError as error:
        if len(records) == 1:
            yield records[0], str(error)
            return
        middle = len(records) // 2
        yield from _samples(records[:middle], split, config)
        yield from _samples(records[middle:], split, config)


def _entries(samples: list[tuple[Record, Sample]], fmt: str, config: SFTConfig) -> Iterator[Entry]:
    fields = samples[0][0].fields if samples else {}
    further = [name for name in shown_names(config, fields) if name not in ("text", config.data.text_column)]
    if fmt == "labelled":
        for record, sample in samples:
            text = str(record.fields.get(config.data.text_column) or "")
            context = tuple(_shown(name, record, config) for name in further)
            yield Entry(record.place, sample, text, normalised(text), context, sample.gold, record.fields)
        return
    asked = [asked_of(sample.messages or _whole_text(sample), record.place) for record, sample in samples]
    frames = common_frames(asked)
    for (record, sample), prompt in zip(samples, asked, strict=True):
        text = _inside(prompt.user, next((frame for frame in frames if frame.fits(prompt)), None))
        yield Entry(record.place, sample, text, normalised(text), (), _label(sample, config), record.fields)


def _whole_text(sample: Sample) -> list[dict[str, str]]:
    """Plain text has no prompt: what is learnt is what is compared."""
    return [{"role": "user", "content": sample.target or ""}]


def _shown(name: str, record: Record, config: SFTConfig) -> str:
    if name == "target_group" and name not in record.fields and config.data.group_columns:
        name = config.data.group_columns[0]
    return value_text(record.fields.get(name))


def _inside(user: str, frame: Frame | None) -> str:
    """The text without the frame; where the frame is all there is, the whole."""
    inside = user[len(frame.before) : len(user) - len(frame.after)] if frame else user
    return inside if inside.strip() else user


def _label(sample: Sample, config: SFTConfig) -> str | None:
    if config.task.type != "classification":
        return None
    return sample.gold if sample.gold in config.task.labels else spelled_label(sample.target or "", config.task)


def open_subject(
    target: Path, overrides: list[str], others: dict[str, Path], settings: dict[str, Any], profile: str | None = None
) -> Subject:
    """By what the target is: a run directory, an experiment file, or records."""
    if RunPaths(target).record.exists():
        if overrides or others:
            raise InputError(
                "the settings of a run are fixed: --set, --model, --validation and --test go with EXP or DATA"
            )
        return run_subject(target)
    if is_experiment(target):
        if others:
            raise InputError("--validation and --test go with a data file; an experiment names its own splits")
        return experiment_subject(target, overrides, profile)
    return data_subject(target, others, settings)
