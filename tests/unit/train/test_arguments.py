"""Effective batch, steps and warm-up of the presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftlib.config.checks import check_tree
from sftlib.config.steps import effective_batch, steps_per_epoch, total_steps
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.train.arguments import training_arguments
from tests.posts import write_experiment


def config(**train: object) -> SFTConfig:
    return SFTConfig.model_validate({"train": train, "parallel": {"strategy": "ddp", "gpus_per_node": 4}})


@pytest.mark.parametrize(
    ("preset", "batch", "epoch", "steps", "warm_up"),
    [
        ("default", 64, 42, 126, 4),  # 2,686 records: 672 batches a device, 42 steps an epoch; 3% of 126, rounded up
        ("high_capacity", 64, 42, 126, 4),
        ("memory_efficient", 64, 42, 126, 4),
        ("quick_test", 16, 168, 168, 6),
    ],
)
def test_the_presets_on_four_devices(
    tmp_path: Path, preset: str, batch: int, epoch: int, steps: int, warm_up: int
) -> None:
    write_experiment(tmp_path, "org/model")
    values = {"preset": preset, "data": {"train": "train.jsonl", "test": "test.jsonl"}, "task": {"type": "generation"},
              "train": {"precision": "fp32"}, "parallel": {"strategy": "ddp", "gpus_per_node": 4}}  # fmt: skip
    (tmp_path / "preset.json").write_text(json.dumps(values))
    settings = SFTConfig.from_file(tmp_path / "preset.json")
    assert effective_batch(settings) == batch
    assert steps_per_epoch(settings, 2686) == epoch and total_steps(settings, 2686) == steps
    arguments = training_arguments(settings, tmp_path, 2686, has_validation=False)
    assert arguments.warmup_steps == warm_up
    assert arguments.learning_rate == {"high_capacity": 1e-4, "memory_efficient": 3e-4}.get(preset, 2e-4)
    assert (
        settings.lora.r
        == settings.lora.alpha
        == {"high_capacity": 64, "memory_efficient": 16, "quick_test": 8}.get(preset, 32)
    )
    assert arguments.weight_decay == 0.01 and arguments.eval_strategy == "no"
    assert (settings.model.quantization.kind == "nf4") is (preset == "memory_efficient")


def test_max_steps_wins_over_epochs() -> None:
    assert total_steps(config(max_steps=7), 2686) == 7


def test_fp16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="needs a GPU"):
        training_arguments(config(precision="fp16"), tmp_path, 10, has_validation=False)


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"parallel": {"strategy": "zero3"}, "train": {"head_tokens": 64}}, "train.head_tokens"),
        ({"parallel": {"strategy": "fsdp"}, "model": {"quantization": {"kind": "int8"}}}, "model.quantization.kind"),
        ({"model": {"quantization": {"kind": "nf4"}, "gguf_file": "x.gguf"}}, "model.quantization.kind"),
        ({"lora": {"target_parameters": ["mlp.experts.down_proj"]}}, "lora.dropout"),
        ({"parallel": {"strategy": "single", "gpus_per_node": 2}}, "parallel.strategy"),
    ],
)
def test_what_no_engine_can_do_is_a_problem_of_the_plan(sections: dict[str, object], key: str) -> None:
    assert key in [problem.key for problem in check_tree(SFTConfig.model_validate(sections))]
