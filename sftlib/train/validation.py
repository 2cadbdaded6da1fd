"""Validation as a user would do it: the model answers records of the validation split, and the answers are judged.

The loss can fall while answers get worse, or cannot be read at all: task metrics and shown samples tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from sftlib.artifacts.atomic import append_line
from sftlib.artifacts.progress import say
from sftlib.config.data import TaskSection
from sftlib.config.inputs import Split, read_split
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import Renderer
from sftlib.data.samples import Sample, samples_of
from sftlib.metrics.multiclass import confusion_matrix, multiclass_rates
from sftlib.metrics.text import text_metrics
from sftlib.paths import CellPaths
from sftlib.train.callbacks import SFTCallback

_SHOWN_CHARACTERS = 100


class ValidationCallback(SFTCallback):
    """At each evaluation the model answers some validation records: task metrics into `metrics`, samples shown and kept."""

    def __init__(
        self, samples: Sequence[Sample], renderer: Renderer, config: SFTConfig, kept: Path | None = None,
        log: Callable[[dict[str, float]], None] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.renderer, self.kept, self.log = config, renderer, kept, log
        self.judged = spread(samples, config.train.task_metrics_on)
        self.shown = spread(self.judged or samples, config.train.sample_generations)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, model: Any = None, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """After the validation loss is known, before the best model is chosen and early stopping looks."""
        asked = {sample.id: sample for sample in [*self.judged, *self.shown]}
        answers = dict(zip(asked, self._answers(model, list(asked.values())), strict=True))
        figures = task_metrics(self.judged, [answers[sample.id] for sample in self.judged], self.config)
        if metrics is not None:
            metrics.update(figures)
        if figures and self.log:
            self.log(dict(figures))
        if state.is_world_process_zero:
            self._show(state.global_step, [(sample, answers[sample.id]) for sample in self.shown])

    def _show(self, step: int, answered: list[tuple[Sample, str]]) -> None:
        for sample, answer in answered:
            said = answer if len(answer) <= _SHOWN_CHARACTERS else answer[:_SHOWN_CHARACTERS] + "..."
            say(f"step {step}  {sample.id}: {said!r} (expected {sample.target or sample.gold!r})")
            if self.kept is not None:
                line = {"step": step, "id": sample.id, "answer": answer, "expected": sample.target}
                append_line(self.kept, json.dumps(line, ensure_ascii=False))

    @torch.no_grad()
    def _answers(self, model: Any, samples: list[Sample]) -> list[str]:
        """Greedy answers, longest prompts together. Every rank asks the same, as sharded weights need."""
        was_training, answers = model.training, [""] * len(samples)
        prompts = [self.renderer.prompt(sample).ids for sample in samples]
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        model.eval()
        for start in range(0, len(order), self.config.train.batch_size):
            batch = order[start : start + self.config.train.batch_size]
            for index, text in zip(batch, self._decode(model, [prompts[i] for i in batch]), strict=True):
                answers[index] = text
        model.train(was_training)
        return answers

    def _decode(self, model: Any, prompts: list[list[int]]) -> list[str]:
        tokenizer, device = self.renderer.tokenizer, next(model.parameters()).device
        width = max(len(ids) for ids in prompts)
        padded = [[tokenizer.pad_token_id] * (width - len(ids)) + ids for ids in prompts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        inner = getattr(model, "module", model)  # DDP's wrapper cannot generate
        out = inner.generate(
            input_ids=torch.tensor(padded, device=device), attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=self.config.predict.max_new_tokens, do_sample=False, use_cache=True,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=self.renderer.stop_ids,
            synced_gpus=self.config.parallel.strategy in ("fsdp", "zero3"),
        )  # fmt: skip
        return [_until(row[width:], self.renderer) for row in out.tolist()]


def validation_callbacks(
    config: SFTConfig, split: Split | None, renderer: Renderer, cell: CellPaths, log: Callable[[dict[str, float]], None]
) -> list[TrainerCallback]:
    """What the experiment asks for at evaluations. Answers come first: early stopping looks at what they are judged."""
    train, callbacks = config.train, list[TrainerCallback]()
    has_validation = config.data.validation is not None or config.data.validation_size is not None
    if has_validation and (train.task_metrics_on or train.sample_generations):
        samples = samples_of(split or read_split(config, "validation"), config)
        callbacks.append(ValidationCallback(samples, renderer, config, cell.samples, log))
    if train.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(train.early_stopping_patience, train.early_stopping_threshold))
    return callbacks


def _until(ids: list[int], renderer: Renderer) -> str:
    """The text before the end of turn."""
    end = next((at for at, token in enumerate(ids) if token in renderer.stop_ids), None)
    return renderer.tokenizer.decode(ids[:end], skip_special_tokens=False)


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples at even distances: files are often sorted, and the first ones would be of one kind."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def task_metrics(samples: Sequence[Sample], answers: Sequence[str], config: SFTConfig) -> dict[str, float]:
    """Figures over the judged samples, by the names that train.best_metric may take; nothing where none was judged."""
    if not samples:
        return {}
    if config.task.type == "generation":
        references = [[sample.gold or sample.target or ""] for sample in samples]
        found = text_metrics(answers, references)
        return {f"eval_{name}": found[name] for name in ("exact_match", "rouge_l") if found[name] is not None}
    return _label_metrics([sample.gold for sample in samples], answers, config.task)


def _label_metrics(gold: Sequence[str | None], answers: Sequence[str], task: TaskSection) -> dict[str, float]:
    """An answer that cannot be read counts as wrong; 0 where a figure is not defined, so that runs can be compared by it."""
    codes = {label: code for code, label in enumerate(task.labels)}
    said = [codes.get(parse_label(answer, task)[0] or "", len(codes)) for answer in answers]
    rates = multiclass_rates(confusion_matrix([codes[str(label)] for label in gold], said, len(codes)), task.labels)
    figures = {
        "eval_accuracy": rates["accuracy"],
        "eval_macro_f1": rates["macro_f1"],
        "eval_parse_rate": 1 - rates["unparsed"] / rates["n"],
    }
    if task.positive is not None:
        figures["eval_f1"] = rates["classes"][task.positive]["f1"]
    return {name: value or 0.0 for name, value in figures.items()}
