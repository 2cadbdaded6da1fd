"""What no single key can tell: combinations that cannot work, and sweeps that name no key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sftlib.config.problems import Problem, did_you_mean, keys_of, section_at
from sftlib.config.tree import SFTConfig
from sftlib.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS


def check_tree(config: SFTConfig) -> list[Problem]:
    """Every problem across keys."""
    return [problem for check in _CHECKS for problem in check(config)]


def _sources(config: SFTConfig) -> Iterator[Problem]:
    if config.data.train is None and config.train.enabled and config.lora.adapter is None:
        message = "is missing: give the path of the training records (or train.enabled: false, to evaluate only)"
        yield Problem("data.train", message)
    if config.data.test is None and config.data.test_size is None:
        yield Problem("data.test", "is missing: give the test records, or data.test_size to split them off train")
    for split in ("train", "validation", "test"):
        source = getattr(config.data, split)
        if source is None:
            continue
        is_part = split != "train" and getattr(config.data, f"{split}_size") is not None
        if (source.path is None) == (source.hub is None) and not (is_part and source.path is None):
            yield Problem(f"data.{split}", "expected exactly one of path and hub")
        if source.path and "${" not in source.path and not Path(source.path).exists():
            yield Problem(f"data.{split}.path", "there is no such file or folder", source.path)


def _adapter(config: SFTConfig) -> Iterator[Problem]:
    """An adapter that is there already."""
    if config.lora.adapter is None:
        return
    if not config.lora.enabled:
        yield Problem("lora.adapter", "goes with lora.enabled: true: drop one of the two", config.lora.adapter)
    folder = Path(config.lora.adapter)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            message = f"expected a folder with {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}: {name} is missing"
            yield Problem("lora.adapter", message, config.lora.adapter)
            return


def _splits(config: SFTConfig) -> Iterator[Problem]:
    for split in ("validation", "test"):
        size, source = getattr(config.data, f"{split}_size"), getattr(config.data, split)
        if size is None:
            continue
        if source is not None and (source.path or source.hub):
            message = f"cannot be combined with data.{split}: drop one of them"
            yield Problem(f"data.{split}_size", message, size)
        elif source is not None and (source.where or source.split or source.config):
            yield Problem(f"data.{split}", "is a part of train: filter or name a split of data.train instead")
        if isinstance(size, float) and size >= 1:
            yield Problem(f"data.{split}_size", "expected a whole number of records, or a fraction below 1", size)


def _formatting(config: SFTConfig) -> Iterator[Problem]:
    data = config.data
    if data.format == "formatting_func" and not data.formatting_func:
        yield Problem("data.formatting_func", "is missing: data.format is formatting_func; give module:function")
    if data.formatting_func and data.format not in ("auto", "formatting_func"):
        yield Problem("data.format", "formatting_func makes the format: drop one of the two", data.format)
    if data.formatting_func and not all(data.formatting_func.rpartition(":")[::2]):
        message = "expected module:function, such as formatting:as_messages"
        yield Problem("data.formatting_func", message, data.formatting_func)
    if data.formatting_batched and not data.formatting_func:
        yield Problem("data.formatting_batched", "has no effect without data.formatting_func", True)


def _task(config: SFTConfig) -> Iterator[Problem]:
    task = config.task
    if task.type == "generation":
        if config.predict.method == "score":
            yield Problem("predict.method", "score needs task.type: classification with task.labels", "score")
        return
    if len(set(task.labels)) < 2:
        yield Problem(
            "task.labels", "classification needs at least two distinct labels, such as [hate, normal]", task.labels
        )
    elif len(task.labels) == 2 and task.positive is None:
        yield Problem("task.positive", f"say which of {' and '.join(task.labels)} counts as positive")
    if task.positive is not None and task.positive not in task.labels:
        yield Problem(
            "task.positive", f"is not in task.labels{did_you_mean(task.positive, task.labels)}", task.positive
        )
    for name in ("verbalizers", "aliases"):
        for label in getattr(task, name):
            if label not in task.labels:
                yield Problem(f"task.{name}", f"{label!r} is not in task.labels{did_you_mean(label, task.labels)}")


def _decisions(config: SFTConfig) -> Iterator[Problem]:
    """What is fitted needs scores to be fitted on, and records that are not the test's."""
    predict, task = config.predict, config.task
    for key, is_asked in (("calibrate", predict.calibrate != "none"), ("threshold", predict.threshold != "argmax")):
        if is_asked and (task.type != "classification" or predict.method == "generate"):
            yield Problem(
                f"predict.{key}",
                "needs scores: task.type: classification and predict.method: score",
                getattr(predict, key),
            )
    has_validation = config.data.validation is not None or config.data.validation_size is not None
    for key, is_asked in (("calibrate", predict.calibrate == "batch"), ("threshold", predict.threshold != "argmax")):
        if is_asked and not has_validation:
            message = "is fitted on validation records: give data.validation or data.validation_size"
            yield Problem(f"predict.{key}", message, getattr(predict, key))
    if predict.constrain and task.type != "classification":
        yield Problem("predict.constrain", "needs labels: task.type: classification", predict.constrain)


def _engine(config: SFTConfig) -> Iterator[Problem]:
    """What vllm cannot load is said before anything is trained for it."""
    lora, kind = config.lora, config.model.quantization.kind
    if config.predict.engine != "vllm":
        return
    for is_so, what in (
        (not lora.enabled, "lora.enabled: false (a whole model instead of an adapter)"),
        (lora.dora, "lora.dora"),
        (bool(lora.modules_to_save), "lora.modules_to_save"),
        (lora.bias != "none", f"lora.bias: {lora.bias}"),
        (lora.r > 512, f"lora.r above 512 ({lora.r})"),
        (kind in ("int8", "fp4"), f"model.quantization.kind: {kind}"),
    ):
        if is_so:
            yield Problem("predict.engine", f"vllm does not serve {what}: use transformers", "vllm")


def _parallel(config: SFTConfig) -> Iterator[Problem]:
    parallel = config.parallel
    if parallel.strategy == "single" and parallel.world_size > 1:
        message = f"single is one process, but parallel asks for {parallel.nodes} x {parallel.gpus_per_node}: expected ddp, fsdp, zero1, zero2 or zero3"
        yield Problem("parallel.strategy", message, "single")
    if parallel.strategy == "zero3" and config.train.head_tokens is not None:
        message = "zero3 gathers the head's weights once for all tokens of a batch: drop it, or use fsdp"
        yield Problem("train.head_tokens", message, config.train.head_tokens)
    if config.cluster.scheduler == "local" and parallel.nodes > 1:
        yield Problem(
            "parallel.nodes",
            "the local profile is one machine: name a cluster profile (sft run --cluster ...), or set 1",
            parallel.nodes,
        )


def _precision(config: SFTConfig) -> Iterator[Problem]:
    if config.train.precision == "fp16" and config.model.dtype == "bfloat16":
        yield Problem("train.precision", "fp16 training of a bfloat16 base mixes two 16-bit types: use bf16", "fp16")
    if config.model.quantization.kind != "none" and not config.lora.enabled:
        yield Problem("lora.enabled", "quantised weights cannot be trained: they need an adapter", False)
    kind, strategy = config.model.quantization.kind, config.parallel.strategy
    if kind == "int8" and strategy in ("fsdp", "zero3"):
        yield Problem(
            "model.quantization.kind", f"8-bit weights cannot be sharded by {strategy}: use nf4 or ddp", "int8"
        )
    if kind != "none" and config.model.gguf_file is not None:
        yield Problem("model.quantization.kind", "weights out of a GGUF file are loaded dequantised: use none", kind)
    if config.lora.target_parameters and config.lora.dropout:
        message = "adapters on target_parameters have no dropout: set 0"
        yield Problem("lora.dropout", message, config.lora.dropout)
    if config.train.backend == "unsloth" and config.parallel.world_size > 1:
        yield Problem("train.backend", "unsloth trains on one device: use trl", "unsloth")
    if (config.train.packing or config.train.tokens_per_batch) and config.train.group_by_length:
        yield Problem(
            "train.group_by_length",
            "rows are already full with train.packing or train.tokens_per_batch: drop one of them",
            True,
        )


def _batches(config: SFTConfig) -> Iterator[Problem]:
    train = config.train
    budget = train.tokens_per_batch
    if budget is not None and train.packing:
        yield Problem(
            "train.tokens_per_batch", "train.packing fills rows of max_length already: drop one of them", budget
        )
    if budget is not None and budget < train.max_length:
        yield Problem(
            "train.tokens_per_batch",
            f"a record of train.max_length = {train.max_length} would not fit: raise it",
            budget,
        )
    for key, is_asked in [("shared_prefix", train.shared_prefix == "on"), ("packing", train.packing),
                          ("tokens_per_batch", budget is not None)]:  # fmt: skip
        if train.layout == "padded" and is_asked:
            yield Problem(
                f"train.{key}", "needs rows without padding: drop it, or train.layout: padded", getattr(train, key)
            )


def _best_model(config: SFTConfig) -> Iterator[Problem]:
    watches = config.train.early_stopping_patience is not None or config.train.keep_best
    if watches and config.data.validation is None and config.data.validation_size is None:
        key = "train.keep_best" if config.train.keep_best else "train.early_stopping_patience"
        yield Problem(key, "needs validation records: give data.validation or data.validation_size")
    if watches and config.train.best_metric != "eval_loss" and not config.train.task_metrics_on:
        message = "only eval_loss is known without answers: set train.task_metrics_on to a number of validation records"
        yield Problem("train.best_metric", message, config.train.best_metric)
    if config.train.keep_best and config.train.save_steps not in (None, config.train.eval_steps):
        message = "with train.keep_best every evaluation saves: drop it, or set it to train.eval_steps"
        yield Problem("train.save_steps", message, config.train.save_steps)


def _container(config: SFTConfig) -> Iterator[Problem]:
    container = config.container
    if container.runtime != "none" and container.image is None:
        yield Problem("container.image", f"is missing: {container.runtime} needs an image (sft container build)")
    if container.runtime != "none" and container.image and not Path(container.image).exists():
        yield Problem("container.image", "there is no such image: build it with sft container build", container.image)


def _sweep(config: SFTConfig) -> Iterator[Problem]:
    sweep = config.sweep
    for name, keys in [
        ("grid", list(sweep.grid)), ("random", list(sweep.random)),
        ("list", [key for entry in sweep.list_ for key in entry if key != "id"]),
    ]:  # fmt: skip
        for key in keys:
            yield from _sweep_key(f"sweep.{name}", key)
    for key, choices in sweep.grid.items():
        if not choices:
            yield Problem(f"sweep.grid.{key}", "expected at least one value", choices)
    if sweep.random and not sweep.draws:
        yield Problem("sweep.draws", "sweep.random needs the number of draws")
    for key, how in sweep.random.items():
        if len(how) != 1 or next(iter(how)) not in ("choice", "uniform", "log_uniform"):
            yield Problem(
                f"sweep.random.{key}", "expected {choice: [...]}, {uniform: [a, b]} or {log_uniform: [a, b]}", how
            )


_SPLIT_KEYS = (
    "data.train", "data.validation", "data.test", "data.test_size", "data.validation_size", "data.seed",
    "data.stratify", "data.faulty", "data.id_column", "data.formatting_func", "data.format",
)  # fmt: skip


def _sweep_key(place: str, key: str) -> Iterator[Problem]:
    *parents, leaf = key.split(".")
    section = section_at(parents, SFTConfig)
    known = keys_of(section) if section else []
    if leaf not in known:
        yield Problem(f"{place}.{key}", f"no such key in an experiment{did_you_mean(leaf, known)}")
    elif (parents[:1] == ["data"] and parents[1:] in (["train"], ["validation"], ["test"])) or key in _SPLIT_KEYS:
        yield Problem(f"{place}.{key}", "all cells share their records: run two experiments, then sft compare")
    elif parents and parents[0] in ("cluster", "container", "report", "sweep"):
        yield Problem(f"{place}.{key}", f"{parents[0]} is the same for all cells: it cannot be swept")


_CHECKS: list[Callable[[SFTConfig], Any]] = [
    _sources, _splits, _adapter, _formatting, _task, _decisions, _engine, _parallel, _precision, _batches, _best_model, _container, _sweep,
]  # fmt: skip
