"""The records of the speed comparison, and what its verdict lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fast_path import RECIPE, _verdicts, settings_of, write_records
from sftlib.config.tree import SFTConfig
from tests.tiny import build_tiny_model


@pytest.mark.parametrize("prompt", ["long", "short"])
def test_records_are_an_experiment_of_ours(prompt: str, tmp_path: Path) -> None:
    from sftlib.data.processing import SFTDatasetProcessor
    from sftlib.models.loading import load_tokenizer

    path = tmp_path / "records.jsonl"
    section = write_records(path, prompt, 6)
    values = settings_of(build_tiny_model(tmp_path / "model"), path, section, 6, 2)
    values["train"]["max_length"] = 8192  # the tiny tokenizer knows few words
    config = SFTConfig.model_validate(values)
    rows = SFTDatasetProcessor(config, load_tokenizer(config)).rows("train")
    assert len(rows) == 6 and rows.supervised_tokens


def row(peer: str, speed: float, loss: float = 1.0) -> dict:
    return {
        "peer": peer,
        "against_best_TRL": speed,
        "by_CPU_time": speed,
        "loss_of_step_1": loss,
        "loss_of_last_step": loss,
    }


@pytest.mark.parametrize(
    ("prompt", "rows", "holds"),
    [
        ("long", [row("sftlib", 4.1), row("TRL", 1.0)], True),
        ("long", [row("sftlib", 3.9), row("TRL", 1.0)], False),
        ("long", [row("sftlib", 9.0), row("TRL", 1.0, loss=1.01)], False),
        ("short", [row("sftlib", 1.4), row("TRL", 1.0), row(RECIPE, 0.2, loss=5.0)], True),
        ("short", [row("sftlib", 1.4), row("TRL", 1.0), row(RECIPE, 0.3)], False),
    ],
)
def test_the_verdict(prompt: str, rows: list[dict], holds: bool) -> None:
    said, ok = _verdicts(prompt, rows)
    assert ok is holds and any("FAILS" in line for line in said) is not holds
