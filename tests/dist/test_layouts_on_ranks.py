"""Two ranks behind shared beginnings learn what one process learns with padded batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROJECT = Path(__file__).parents[2]


def train(folder: Path, model: Path, layout: str, *, ranks: int, batch_size: int, accumulation: int) -> Path:
    out = folder / f"{layout}-{ranks}"
    words = ["tests/dist/train_layout.py", layout, str(batch_size), str(accumulation), str(model), str(out)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launcher, *words], cwd=PROJECT, env=environment, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
def test_two_ranks_behind_a_shared_beginning_learn_the_same(tiny_model: Path, tmp_path: Path) -> None:
    one = train(tmp_path, tiny_model, "padded", ranks=1, batch_size=2, accumulation=4)
    two = train(tmp_path, tiny_model, "shared", ranks=2, batch_size=4, accumulation=1)
    wanted, got = (json.loads((out / "losses.json").read_text()) for out in (one, two))
    assert (wanted["world"], got["world"]) == (1, 2)
    assert len(got["lines"]) == len(wanted["lines"]) == 3
    for mine, theirs in zip(got["lines"], wanted["lines"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["num_tokens"] == theirs["num_tokens"]
        assert mine["mean_token_accuracy"] == pytest.approx(theirs["mean_token_accuracy"])
    weights = load_file(one / "adapter.safetensors")
    for name, weight in load_file(two / "adapter.safetensors").items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-6)
