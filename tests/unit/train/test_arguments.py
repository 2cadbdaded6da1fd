"""Effective batch, steps and warm-up of the presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlib.config.steps import steps_per_epoch, total_steps
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError
from sftlib.train.arguments import training_arguments


def config(**train: object) -> SFTConfig:
    return SFTConfig.model_validate({"train": train, "parallel": {"strategy": "ddp", "gpus_per_node": 4}})


def test_the_default_preset_on_four_devices() -> None:
    settings = config()
    assert settings.train.batch_size * settings.train.gradient_accumulation * settings.parallel.world_size == 64
    assert steps_per_epoch(settings, 2686) == 42 and total_steps(settings, 2686) == 126


def test_warm_up_is_a_share_of_all_steps(tmp_path: Path) -> None:
    arguments = training_arguments(config(precision="fp32"), tmp_path, 2686, has_validation=False)
    assert arguments.warmup_steps == 4  # 3% of 126, rounded up
    assert arguments.learning_rate == 2e-4 and arguments.weight_decay == 0.01
    assert arguments.gradient_checkpointing is False and arguments.eval_strategy == "no"


def test_max_steps_wins_over_epochs() -> None:
    assert total_steps(config(max_steps=7), 2686) == 7


def test_fp16_on_a_cpu_is_refused(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="needs a GPU"):
        training_arguments(config(precision="fp16"), tmp_path, 10, has_validation=False)
