"""A look at a few answers: prompt, the model's own words, the label read out of them, and how long it took."""

from __future__ import annotations

import time
from pathlib import Path

from sftlib.config.rundir import Run
from sftlib.infer.stage import Predictor, test_samples


def show_answers(run: Run, cell: str, adapter: Path | None, count: int, *, is_long: bool) -> int:
    """Print the first `count` answers; nothing is written."""
    config = run.cell_config(cell)
    trained = None if run.cell(cell).is_baseline else run.paths.cell(cell).adapter
    samples = test_samples(run, config)[:count]
    started = time.perf_counter()
    predictor = Predictor(config, adapter or trained)
    predictor.prepare(samples)
    loaded = time.perf_counter()
    prompts = [predictor.renderer.prompt(sample) for sample in samples]
    answers = predictor.answerer.answer(prompts, lambda done: None)
    seconds = time.perf_counter() - loaded
    for sample, prompt, answer in zip(samples, prompts, answers, strict=True):
        if is_long:
            print(f"--- {sample.id}, {len(prompt.ids)} tokens\n{prompt.text}")
        said = f"  raw {answer.raw!r}" if answer.raw is not None else ""
        score = f"  score {answer.score:.4f}" if answer.score is not None else ""
        label = f"{answer.prediction!r}" if answer.prediction is not None else f"none ({answer.reason})"
        print(f"[{sample.id}] gold {sample.gold!r}  answer {label}{score}{said}")
    print(
        f"{cell}: {len(samples)} records in {seconds:.2f} s ({seconds / len(samples):.3f} s each), loaded in "
        f"{loaded - started:.1f} s; method {predictor.method}, engine {config.predict.engine}, {predictor.dtype}"
    )
    return 0
