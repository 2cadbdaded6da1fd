"""Run by torchrun: trains a tiny model on fixed records in a given layout; rank 0 writes losses and adapter."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import AutoTokenizer

from sftlib.data.collation import FlatCollator, SupervisedCollator
from sftlib.models.tree_support import use_tree_attention
from sftlib.train.loss import SupervisedTrainer
from tests.shapes import build_shape


def main(layout: str, batch_size: int, accumulation: int, tokenizer: str, out: Path) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    begin = torch.randint(3, 300, (24,), generator=generator).tolist()
    records = []
    for length in torch.randint(4, 14, (22,), generator=generator).tolist():  # 22: the last step is not full
        own = torch.randint(3, 300, (length,), generator=generator).tolist()
        answer = 1 + length % 3
        ids = begin + own
        records.append({"input_ids": ids, "labels": [-100] * (len(ids) - answer) + ids[-answer:]})
    model = build_shape("llama")
    if layout != "padded":
        assert use_tree_attention(model) is None
    collator = SupervisedCollator(2) if layout == "padded" else FlatCollator(share=layout == "shared")
    arguments = trl.SFTConfig(
        output_dir=str(out), per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
        num_train_epochs=1, learning_rate=1e-2, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
        save_strategy="no", logging_steps=1, disable_tqdm=True, lr_scheduler_type="constant", optim="sgd",
        max_grad_norm=0.0, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None, ddp_backend="gloo" if "RANK" in os.environ else None,
        accelerator_config={"even_batches": False},
    )  # fmt: skip
    trainer = SupervisedTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(records), data_collator=collator, head_places=5,
        processing_class=AutoTokenizer.from_pretrained(tokenizer),
        peft_config=LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0),
    )  # fmt: skip
    trainer.train()
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        lines = [line for line in trainer.state.log_history if "loss" in line]
        kept = [{key: line[key] for key in ("loss", "num_tokens", "mean_token_accuracy")} for line in lines]
        (out / "losses.json").write_text(json.dumps({"lines": kept, "world": trainer.accelerator.num_processes}))
        unwrapped = trainer.accelerator.unwrap_model(trainer.model)
        save_file({n: p.detach().contiguous() for n, p in unwrapped.named_parameters() if p.requires_grad},
                  out / "adapter.safetensors")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
