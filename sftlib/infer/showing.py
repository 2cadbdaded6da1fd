"""A look at a few answers: prompt, the model's own words, the label read out of them, and how long it took."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftlib.config.rundir import Run
from sftlib.data.rendering import Prompt
from sftlib.data.samples import Sample
from sftlib.errors import DONE
from sftlib.infer.answers import Answer
from sftlib.infer.decisions import Decision, standing_decision
from sftlib.infer.engines import EngineSlot
from sftlib.infer.stage import Predictor, test_samples, trained_folder


@dataclass(frozen=True)
class Look:
    """What a cell answers to the first records."""

    cell: str
    rows: list[tuple[Sample, Prompt, Answer]]
    is_decided: bool  # by the cell's own threshold and calibration; else they are the likeliest labels
    loading_s: float
    seconds: float
    how: dict[str, str]  # method, engine, dtype


def show_answers(
    run: Run, cells: Sequence[str], adapter: Path | None, count: int, *, is_long: bool, as_json: bool = False
) -> int:
    """Print each cell's first `count` answers; nothing is written. Without cells: of one that can answer."""
    slot = EngineSlot()
    looks = (_look(run, cell, adapter, count, slot) for cell in cells or [_ready_cell(run)])
    if as_json:
        print(json.dumps([_to_json(look, is_long=is_long) for look in looks], indent=2, ensure_ascii=False))
        return DONE
    for look in looks:
        for line in _lines(look, is_long=is_long):
            print(line)
    return DONE


def _ready_cell(run: Run) -> str:
    """The first trained cell; else the baseline, else the first, which then says what it lacks."""
    trained = [cell.id for cell in run.cells if not cell.is_baseline and run.paths.cell(cell.id).adapter.is_dir()]
    return [*trained, *(cell.id for cell in run.cells if cell.is_baseline), run.cells[0].id][0]


def _look(run: Run, cell: str, adapter: Path | None, count: int, slot: EngineSlot) -> Look:
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
    decided = [(decision or Decision()).decide(answer, config) for answer in answers]
    how = {"method": predictor.method, "engine": config.predict.engine, "dtype": predictor.dtype}
    rows = list(zip(samples, prompts, decided, strict=True))
    return Look(cell, rows, decision is not None, loaded - started, seconds, how)


def _to_json(look: Look, *, is_long: bool) -> dict[str, Any]:
    answers = [
        {
            "sample_id": sample.id, "gold": sample.gold, **asdict(answer), "prompt_tokens": len(prompt.ids),
            "label_logprobs": answer.label_logprobs and [x if math.isfinite(x) else None for x in answer.label_logprobs],
            **({"prompt": prompt.text} if is_long else {}),
        }
        for sample, prompt, answer in look.rows
    ]  # fmt: skip
    return {
        "cell": look.cell, **look.how, "is_decided": look.is_decided, "loading_s": round(look.loading_s, 3),
        "seconds": round(look.seconds, 3), "answers": answers,
    }  # fmt: skip


def _lines(look: Look, *, is_long: bool) -> Iterator[str]:
    for sample, prompt, answer in look.rows:
        if is_long:
            yield f"--- {sample.id}, {len(prompt.ids)} tokens\n{prompt.text}"
        yield _line(sample, answer)
    if not look.is_decided:
        yield "calibration and threshold are fitted when shards are predicted: these are the likeliest labels"
    count, how = len(look.rows), look.how
    yield (
        f"{look.cell}: {count} records in {look.seconds:.2f} s ({look.seconds / count:.3f} s each), loaded in "
        f"{look.loading_s:.1f} s; method {how['method']}, engine {how['engine']}, {how['dtype']}"
    )


def _line(sample: Sample, answer: Answer) -> str:
    said = f"  raw {answer.raw!r}" if answer.raw is not None else ""
    score = f"  score {answer.score:.4f}" if answer.score is not None else ""
    label = f"{answer.prediction!r}" if answer.prediction is not None else f"none ({answer.reason})"
    return f"[{sample.id}] gold {sample.gold!r}  answer {label}{score}{said}"
