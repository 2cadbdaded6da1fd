"""Whether a merged model answers as base and adapter do: both answer the same records, one after the other."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

from sftlib.artifacts.progress import say
from sftlib.config.model import Quantization
from sftlib.config.rundir import Run
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import Sample
from sftlib.infer.stage import Predictor, test_samples
from sftlib.paths import CellPaths


@dataclass(frozen=True)
class Agreement:
    """How many of the answers are the same."""

    equal: int
    records: int

    @property
    def share(self) -> float:
        return self.equal / self.records if self.records else 1.0


def agreement_on(run: Run, config: SFTConfig, paths: CellPaths, merged: Path, count: int) -> Agreement:
    """Answers to evenly spaced test records; unparsed answers are equal when both are unparsed."""
    samples = test_samples(run, config)
    chosen = [samples[i * len(samples) // min(count, len(samples))] for i in range(min(count, len(samples)))]
    model = {"name_or_path": str(merged), "revision": None, "gguf_file": None, "quantization": Quantization()}
    alone = config.model_copy(update={"model": config.model.model_copy(update=model)})
    before, dtype = _answers(config, paths.adapter, chosen, "auto")
    after, _ = _answers(alone, None, chosen, dtype)
    equal = sum(a == b for a, b in zip(before, after, strict=True))
    say(f"agreement: {equal} of {len(chosen)} answers of base with adapter and merged model are equal")
    return Agreement(equal, len(chosen))


def _answers(
    config: SFTConfig, adapter: Path | None, samples: list[Sample], dtype: str
) -> tuple[list[str | None], str]:
    """The model is gone again when this returns: two of them need not fit at once."""
    settings = {"temperature": 0.0, **({"dtype": dtype} if dtype != "auto" else {})}  # no luck of the draw
    config = config.model_copy(update={"predict": config.predict.model_copy(update=settings)})
    predictor = Predictor(config, adapter)
    answers = [answer.prediction for answer in predictor.answers(samples)]
    used = predictor.dtype
    del predictor
    gc.collect()
    return answers, used
