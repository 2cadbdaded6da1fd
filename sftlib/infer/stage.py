"""The prediction stage: shards that are not there yet, of one cell after another, with the base loaded once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sftlib.artifacts.adapters import read_adapter_record
from sftlib.artifacts.claims import take_claim
from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import ProgressFile, say
from sftlib.artifacts.shards import VALID, check_shard, commit_shard, shard_range
from sftlib.artifacts.strays import remove_remains
from sftlib.config.predict import COSMETIC
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import ENGINE_ERROR
from sftlib.data.rendering import Renderer, tokenizer_digest
from sftlib.data.samples import Sample, samples_of
from sftlib.errors import InputError
from sftlib.infer.answers import Answer
from sftlib.infer.decisions import Decision, settle_decision
from sftlib.infer.engines import METHODS, Answerer, EngineSlot
from sftlib.infer.table import multiple_membership, shard_table
from sftlib.models.hardware import dtype_name, dtype_of
from sftlib.models.loading import load_tokenizer, model_identity

_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.05, 0.5  # between looks at shards that others work on
_EXAMPLES = 32  # prompts of the whole test set by which a method finds what they share


class Predictor:
    """One loaded model that answers samples, and what its answers depend on."""

    def __init__(self, config: SFTConfig, adapter: Path | None, slot: EngineSlot | None = None) -> None:
        self.config = config
        self.tokenizer = load_tokenizer(config)
        self.renderer = Renderer(config, self.tokenizer)
        self.record = read_adapter_record(adapter) if adapter else None
        self.base = model_identity(config)
        self.prompt_sha256, self.tokenizer_sha256 = self.renderer.fingerprint(), tokenizer_digest(self.tokenizer)
        self._check_adapter(adapter)
        self.dtype, self.method = dtype_name(dtype_of(self._dtype_name())), config.prediction_method
        engine = (slot or EngineSlot()).engine(config, self.dtype)
        engine.use(adapter)
        self.answerer: Answerer = getattr(engine, METHODS[self.method])(self.renderer, config)

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Show the method prompts from all over the test set, whichever shards this process takes."""
        step = max(1, len(samples) // _EXAMPLES)
        self.answerer.prepare(self.renderer.prompts(samples[::step]))

    def answers(self, samples: Sequence[Sample]) -> list[Answer]:
        """What the method says of samples that are no part of a shard."""
        return self.answerer.answer(self.renderer.prompts(samples), lambda count: None)

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
        predict = self.config.predict.model_dump(mode="json", exclude=set(COSMETIC))
        task = self.config.task.model_dump(mode="json")
        return {
            "adapter": self.record.weights_sha256 if self.record else None,
            "base": self.base,
            "prompt": self.prompt_sha256,
            "tokenizer": self.tokenizer_sha256,
            "test": test_sha256,
            "settings": sha256_value([predict, task, self.method, self.dtype]),
        }


def predict_shards(
    run: Run, cell: str, indices: Sequence[int], progress: ProgressFile, slot: EngineSlot | None = None
) -> int:
    """Predict those shards of the cell that are neither valid nor in another process's hands; returns how many."""
    config, paths = run.cell_config(cell), run.paths.cell(cell)
    known = run.known_parts(cell)
    todo = [i for i in indices if check_shard(paths, i, run.num_shards, known).state != VALID]
    say(f"{cell}: {len(indices) - len(todo)} of {len(indices)} shards are there")
    if not todo:
        remove_remains(paths)  # of a process that was killed when its last shard was there
        return 0
    samples = test_samples(run, config)
    predictor = Predictor(config, trained_folder(run, cell), slot)
    predictor.prepare(samples)
    total = progress.progress.total + sum(len(shard_range(len(samples), i, run.num_shards)) for i in todo)
    progress.update(state="running", total=total, force=True)
    several, parts = multiple_membership(config, samples), predictor.parts(run.inputs["test"]["sha256"])
    decision = settle_decision(run, cell, parts, predictor.answers)
    if decision.digest:
        parts["decision"] = decision.digest

    def predict(index: int) -> None:
        where = shard_range(len(samples), index, run.num_shards)
        table = _predict(predictor, decision, samples, where, several, progress)
        commit_shard(paths, table, parts=parts, index=index, count=run.num_shards, first_row=where.start)
        failed = table["reason"].to_pylist().count(ENGINE_ERROR)
        told = f"; {failed} of them have no answer: the model gave no numbers" if failed else ""
        say(f"{cell}: shard {index} of {run.num_shards}, {len(where)} records{told}", every_rank=True)

    def is_there(index: int) -> bool:
        return check_shard(paths, index, run.num_shards, known).state == VALID

    taken = _take_all(todo, is_there, lambda index: _claimed(run, cell, index, is_there, predict))
    remove_remains(paths)  # of attempts that were killed; nothing while another process is at work here
    return taken


def trained_folder(run: Run, cell: str) -> Path | None:
    """What training left of the cell; None for the baseline."""
    if run.cell(cell).is_baseline:
        return None
    folder = run.paths.cell(cell).adapter
    if not folder.is_dir():
        raise InputError(f"{cell} is not trained yet ({folder} is missing): sft train {run.paths.typed} --cell {cell}")
    return folder


def _take_all(todo: Sequence[int], is_there: Callable[[int], bool], take: Callable[[int], bool]) -> int:
    """Go over the shards until each is there. One that another process works on is waited for: should that process
    die, the shard comes free, and who waits has the model loaded already."""
    taken, pause_s = 0, _LEAST_PAUSE_S
    while todo:
        mine = [index for index in todo if take(index)]
        taken += len(mine)
        todo = [index for index in todo if index not in mine and not is_there(index)]
        if todo and not mine:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MOST_PAUSE_S)
    return taken


def _claimed(run: Run, cell: str, index: int, is_there: Callable[[int], bool], predict: Callable[[int], None]) -> bool:
    """Predict the shard if it is free, and still missing once it is ours."""
    folder = run.paths.cell(cell)
    with _naming(folder.predictions):
        claim = take_claim(folder, index, run.num_shards)
        if claim is None:
            return False
        try:
            if is_there(index):
                return False
            predict(index)
            return True
        finally:
            claim.release()


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """A full disk is told by a write that knows no name: give it the folder's."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _predict(
    predictor: Predictor, decision: Decision, samples: list[Sample], where: range, several: set[str],
    progress: ProgressFile,
) -> Any:  # fmt: skip
    chosen = samples[where.start : where.stop]
    prompts = predictor.renderer.prompts(chosen)
    answers: list[Answer] = predictor.answerer.answer(
        prompts, lambda count: progress.update(done=progress.progress.done + count)
    )
    decided = [decision.decide(answer, predictor.config) for answer in answers]
    return shard_table(predictor.config, chosen, prompts, decided, where.start, several)


def test_samples(run: Run, config: SFTConfig) -> list[Sample]:
    """The test set in sample order; refused when its file is not the one that was planned with."""
    return samples_of(run.split(config, "test"), config)
