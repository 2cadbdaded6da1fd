"""Two real ranks give the loss curve of one process and an adapter that plain PEFT loads. The whole table, all strategies,
is `python -m benchmarks.parallel`; here is the part of it that a machine has time for at each change."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import parallel
from benchmarks.parallel import Outcome, compare, train

pytestmark = pytest.mark.slow
# What the program must have said of the engine: with DDP in its place the losses would be right all the same.
ENGINES = {"ddp": "multi_cpu", "fsdp": "fsdp, 48 sharded weights", "zero3": "deepspeed, 48 sharded weights"}


@pytest.fixture(scope="module")
def experiment(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parallel.write_experiment(tmp_path_factory.mktemp("dist"), tiny_model)


@pytest.fixture(scope="module")
def singles(experiment: Path) -> dict[str, Outcome]:
    return {kind: train(experiment.parent / kind, experiment, kind, "single") for kind in parallel.KINDS}


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [("lora", f"ddp, {parallel.TWO_NODES}"), ("lora", "zero3"), ("qlora", "fsdp")],
)
def test_two_ranks_learn_what_one_process_learns(
    experiment: Path, singles: dict[str, Outcome], tiny_model: Path, tmp_path: Path, kind: str, strategy: str
) -> None:
    if strategy.startswith("zero") and find_spec("deepspeed") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("DeepSpeed is not installed: make install")
    line = compare(train(tmp_path, experiment, kind, strategy), singles[kind], tiny_model)
    assert line.engine == ENGINES[strategy.partition(",")[0]]
    assert line.loss_difference <= parallel.TOLERANCE[kind], line.losses
    assert line.losses[0] > line.losses[-1], "it learns"
    assert line.logit_difference <= {"lora": 1e-4, "qlora": 0.05}[kind] * line.logit_spread
