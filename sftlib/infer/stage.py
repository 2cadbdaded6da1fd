"""The prediction stage: the shards of one cell that are not there yet, with the model loaded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from sftlib.artifacts.adapters import read_adapter_record
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import ProgressFile, say
from sftlib.artifacts.shards import VALID, check_shard, commit_shard, shard_range
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt, Renderer, tokenizer_digest
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import InputError
from sftlib.infer.answers import Answer
from sftlib.infer.generating import Generator
from sftlib.infer.scoring import LabelScorer
from sftlib.infer.table import multiple_membership, shard_table
from sftlib.models.hardware import dtype_of
from sftlib.models.loading import load_tokenizer, load_trained, model_identity


class Engine(Protocol):
    """What answers prompts: one answer a prompt, in their order."""

    def answer(self, prompts: Sequence[Prompt], tick: Callable[[int], None]) -> list[Answer]: ...


_ENGINES: dict[str, Callable[[Any, Renderer, SFTConfig], Engine]] = {"score": LabelScorer, "generate": Generator}


class Predictor:
    """One loaded model that answers samples, and what its answers depend on."""

    def __init__(self, config: SFTConfig, adapter: Path | None) -> None:
        torch.set_num_threads(config.train.threads)
        self.config = config
        self.tokenizer = load_tokenizer(config)
        self.renderer = Renderer(config, self.tokenizer)
        self.record = read_adapter_record(adapter) if adapter else None
        self.base = model_identity(config)
        self.prompt_sha256, self.tokenizer_sha256 = self.renderer.fingerprint(), tokenizer_digest(self.tokenizer)
        self._check_adapter(adapter)
        self.dtype = dtype_of(self._dtype_name())
        self.method = prediction_method(config)
        self.model = load_trained(config, adapter, self.dtype)
        self.model.eval()
        self.engine: Engine = _ENGINES[self.method](self.model, self.renderer, config)

    def _dtype_name(self) -> str:
        """As the experiment says; else as the adapter was trained, and the base as it would be."""
        if self.config.predict.dtype != "auto":
            return self.config.predict.dtype
        return self.record.dtype if self.record else self.config.model.dtype

    def _check_adapter(self, adapter: Path | None) -> None:
        """An adapter answers only the prompt, tokenizer and base that it was trained with."""
        if adapter is None or self.record is None:
            return
        now = {
            "base": self.base,
            "prompt_sha256": self.prompt_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
        }
        other = [name.removesuffix("_sha256") for name, value in now.items() if getattr(self.record, name) != value]
        if other:
            raise InputError(
                f"{adapter} was trained with another {' and '.join(other)} than this prediction would use: "
                f"predict with the experiment it was trained by, or train it again"
            )

    def parts(self, test_sha256: str) -> dict[str, str | None]:
        """Everything that shapes a prediction, for the shard's fingerprint."""
        predict = self.config.predict.model_dump(
            mode="json", exclude={"baseline", "num_shards", "shards_per_job", "batch_tokens"}
        )
        return {
            "adapter": self.record.weights_sha256 if self.record else None,
            "base": self.base,
            "prompt": self.prompt_sha256,
            "tokenizer": self.tokenizer_sha256,
            "test": test_sha256,
            "settings": sha256_value([predict, self.config.task.model_dump(mode="json"), self.method, str(self.dtype)]),
        }


def prediction_method(config: SFTConfig) -> str:
    if config.predict.method != "auto":
        return config.predict.method
    return "score" if config.task.type == "classification" else "generate"


def predict_shards(run: Run, cell: str, indices: Sequence[int], progress: ProgressFile) -> int:
    """Predict those shards of the cell that are not valid yet; returns how many were predicted."""
    config, paths = run.cell_config(cell), run.paths.cell(cell)
    known = run.known_parts(cell)
    todo = [i for i in indices if check_shard(paths, i, run.num_shards, known).state != VALID]
    say(f"{cell}: {len(indices) - len(todo)} of {len(indices)} shards are there")
    if not todo:
        return 0
    samples = test_samples(run, config)
    predictor = Predictor(config, None if run.cell(cell).is_baseline else paths.adapter)
    rows = {index: shard_range(len(samples), index, run.num_shards) for index in todo}
    progress.update(state="running", total=sum(map(len, rows.values())), force=True)
    several, parts = multiple_membership(config, samples), predictor.parts(run.inputs["test"]["sha256"])
    for index, where in rows.items():
        commit_shard(
            paths, _predict(predictor, samples, where, several, progress),
            parts=parts, index=index, count=run.num_shards, first_row=where.start,
        )  # fmt: skip
        say(f"{cell}: shard {index} of {run.num_shards}, {len(where)} records")
    return len(todo)


def _predict(
    predictor: Predictor, samples: list[Sample], where: range, several: set[str], progress: ProgressFile
) -> Any:
    chosen = samples[where.start : where.stop]
    prompts = [predictor.renderer.prompt(sample) for sample in chosen]
    answers = predictor.engine.answer(prompts, lambda count: progress.update(done=progress.progress.done + count))
    return shard_table(predictor.config, chosen, prompts, answers, where.start, several)


def test_samples(run: Run, config: SFTConfig) -> list[Sample]:
    """The test set in sample order; refused when its file is not the one that was planned with."""
    return samples_of(run.split(config, "test"), config)
