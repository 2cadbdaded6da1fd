"""The loss at supervised positions is TRL's loss: in value and in every gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlib.data.collation import SupervisedCollator
from sftlib.data.rendering import IGNORED
from sftlib.train.loss import SupervisedTrainer


def rows() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 300, (length,), generator=generator).tolist() for length in (20, 9, 14, 11)]
    labels = [[IGNORED] * (len(row) - n) + row[len(row) - n :] for row, n in zip(ids, (3, 1, 4, 2), strict=True)]
    labels[0][5] = ids[0][5]  # a supervised token in the middle, as in a conversation of several turns
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def trainer(
    kind: type, model: Path, folder: Path, *, accumulation: int, smoothing: float, **further: Any
) -> trl.SFTTrainer:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    arguments = trl.SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=4 // accumulation, gradient_accumulation_steps=accumulation,
        max_steps=2, learning_rate=1e-2, label_smoothing_factor=smoothing, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, save_strategy="no", logging_steps=1, lr_scheduler_type="constant",
        disable_tqdm=True,
    )  # fmt: skip
    return kind(
        model=base, args=arguments, train_dataset=rows(), processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0), **further,
    )  # fmt: skip


@pytest.mark.parametrize(("accumulation", "smoothing"), [(1, 0.0), (2, 0.0), (1, 0.1)])
def test_losses_and_weights_equal_those_of_plain_trl(
    tiny_model: Path, tmp_path: Path, accumulation: int, smoothing: float
) -> None:
    settings = {"accumulation": accumulation, "smoothing": smoothing}
    plain = trainer(trl.SFTTrainer, tiny_model, tmp_path / "plain", **settings)
    ours = trainer(SupervisedTrainer, tiny_model, tmp_path / "ours", data_collator=SupervisedCollator(2, 8), **settings)
    plain.train(), ours.train()
    for theirs, mine in zip(plain.state.log_history[:2], ours.state.log_history[:2], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
        assert mine["num_tokens"] == theirs["num_tokens"]
        assert mine["mean_token_accuracy"] == pytest.approx(theirs["mean_token_accuracy"])
    weights = dict(plain.model.named_parameters())
    for name, parameter in ours.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter, weights[name], rtol=1e-4, atol=1e-6)


def test_only_supervised_positions_reach_the_head(tiny_model: Path, tmp_path: Path) -> None:
    ours = trainer(
        SupervisedTrainer, tiny_model, tmp_path, accumulation=1, smoothing=0.0, data_collator=SupervisedCollator(2)
    )
    batch = SupervisedCollator(2)([dict(row) for row in rows()])
    seen = []
    head = ours.model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    ours.compute_loss(ours.model, batch)
    assert seen == [11]  # of 4 x 20 places
    assert batch["input_ids"].shape[1] == 20


def test_an_all_masked_batch_has_a_loss_of_zero(tiny_model: Path, tmp_path: Path) -> None:
    ours = trainer(
        SupervisedTrainer, tiny_model, tmp_path, accumulation=1, smoothing=0.0, data_collator=SupervisedCollator(2)
    )
    batch = SupervisedCollator(2)([{"input_ids": [5, 6, 7], "labels": [IGNORED] * 3}])
    loss = ours.compute_loss(ours.model, batch)
    loss.backward()
    assert loss.item() == 0.0
