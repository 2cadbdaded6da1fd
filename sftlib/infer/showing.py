"""A look at a few answers: prompt, the model's own words, the label read out of them, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sftlib.config.rundir import Run
from sftlib.data.samples import Sample
from sftlib.errors import DONE
from sftlib.infer.answers import Answer
from sftlib.infer.decisions import Decision, standing_decision
from sftlib.infer.engines import EngineSlot
from sftlib.infer.stage import Predictor, test_samples, trained_folder


def show_answers(run: Run, cells: Sequence[str], adapter: Path | None, count: int, *, is_long: bool) -> int:
    """Print each cell's first `count` answers; nothing is written. Without cells: of one that can answer."""
    slot = EngineSlot()
    for cell in cells or [_ready_cell(run)]:
        _show(run, cell, adapter, count, slot, is_long=is_long)
    return DONE


def _ready_cell(run: Run) -> str:
    """The first trained cell; else the baseline, else the first, which then says what it lacks."""
    trained = [cell.id for cell in run.cells if not cell.is_baseline and run.paths.cell(cell.id).adapter.is_dir()]
    return [*trained, *(cell.id for cell in run.cells if cell.is_baseline), run.cells[0].id][0]


def _show(run: Run, cell: str, adapter: Path | None, count: int, slot: EngineSlot, *, is_long: bool) -> None:
    config = run.cell_config(cell)
    samples = test_samples(run, config)[:count]
    started = time.perf_counter()
    predictor = Predictor(config, adapter or trained_folder(run, cell), slot)
    predictor.prepare(samples)
    loaded = time.perf_counter()
    prompts = predictor.renderer.prompts(samples)
    answers = predictor.answerer.answer(prompts, lambda done: None)
    seconds = time.perf_counter() - loaded
    decision = standing_decision(run, cell, predictor.parts(run.inputs["test"]["sha256"]))
    for sample, prompt, undecided in zip(samples, prompts, answers, strict=True):
        if is_long:
            print(f"--- {sample.id}, {len(prompt.ids)} tokens\n{prompt.text}")
        print(_line(sample, (decision or Decision()).decide(undecided, config)))
    if decision is None:
        print("calibration and threshold are fitted when shards are predicted: these are the likeliest labels")
    print(
        f"{cell}: {len(samples)} records in {seconds:.2f} s ({seconds / len(samples):.3f} s each), loaded in "
        f"{loaded - started:.1f} s; method {predictor.method}, engine {config.predict.engine}, {predictor.dtype}"
    )


def _line(sample: Sample, answer: Answer) -> str:
    said = f"  raw {answer.raw!r}" if answer.raw is not None else ""
    score = f"  score {answer.score:.4f}" if answer.score is not None else ""
    label = f"{answer.prediction!r}" if answer.prediction is not None else f"none ({answer.reason})"
    return f"[{sample.id}] gold {sample.gold!r}  answer {label}{score}{said}"
