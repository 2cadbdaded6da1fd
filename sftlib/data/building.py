"""Everything that a run's trainings will read, tokenised before any of them starts: the element `prepare`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sftlib.artifacts.hashing import sha256_value
from sftlib.artifacts.progress import ProgressFile, open_progress, say
from sftlib.config.inputs import training_splits
from sftlib.config.rundir import Run, open_target
from sftlib.config.tree import SFTConfig
from sftlib.data.processing import SFTDatasetProcessor


def build_run(target: Path, overrides: list[str], runs_dir: Path) -> list[dict[str, Any]]:
    """Fill the token cache for every cell; cells that differ in nothing that shapes a token share their entries."""
    run = open_target(target, overrides, runs_dir)
    configs = list(_distinct(run).values())
    total = sum(int(run.inputs[name]["count"]) for config in configs for name in training_splits(config))
    built: list[dict[str, Any]] = []
    with open_progress(run.paths, "prepare", None, total, "records") as progress:
        progress.update(state="running", force=True)
        for config in configs:
            built += _build(run, config, progress)
    return list({item["key"]: item for item in built}.values())


def _build(run: Run, config: SFTConfig, progress: ProgressFile) -> list[dict[str, Any]]:
    from sftlib.models.loading import load_tokenizer

    run.check_inputs(config, training_splits(config))
    processor = SFTDatasetProcessor(config, load_tokenizer(config))
    if not config.data.cache:
        say("data.cache is false: each training tokenises for itself")
        return []
    found = []
    for name in training_splits(config):
        started, before = time.perf_counter(), progress.progress.done

        def tick(done: int, before: int = before) -> None:
            progress.update(done=before + done)

        rows = processor.rows(name, tick)
        progress.update(done=before + int(run.inputs[name]["count"]))
        key, seconds = processor.key(name), round(time.perf_counter() - started, 2)
        found.append({"split": name, "key": key, "rows": len(rows), "tokens": rows.tokens, "seconds": seconds})
    return found


def _distinct(run: Run) -> dict[str, SFTConfig]:
    """One configuration for each way in which the run's trainings tokenise."""
    configs = (run.cell_config(cell.id) for cell in run.cells if not cell.is_baseline)
    return {_shape(config): config for config in configs if config.lora.adapter is None}


def _shape(config: SFTConfig) -> str:
    sections = [section.model_dump(mode="json") for section in (config.data, config.prompt, config.task)]
    train = config.train.model_dump(mode="json", include={"loss_on", "max_length", "overlong"})
    model = config.model.model_dump(mode="json", include={"name_or_path", "revision", "tokenizer"})
    return sha256_value([*sections, train, model])
