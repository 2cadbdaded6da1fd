"""What cannot be trained ends at once, with the remedy and the exit code that a person and a scheduler know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import sftlib
from sftlib.data.rendering import IGNORED
from sftlib.errors import ELEMENT_VARIABLE, DataError, InputError, SftError
from sftlib.models.memory import OutOfMemoryError
from tests.conftest import PROJECT
from tests.posts import write_experiment
from tests.tiny import build_tiny_model


def started(folder: Path, model: Path, *settings: str, **sections: Any) -> sftlib.SFTTrainer:
    path = write_experiment(folder, model, **sections)
    return sftlib.SFTTrainer(sftlib.SFTConfig.from_file(path, list(settings)), output_dir=folder / "out")


def test_where_pad_is_eos_the_end_of_the_answer_is_learnt_all_the_same(tiny_model: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, tiny_model)
    trainer._load_template()
    assert trainer.tokenizer.pad_token_id == trainer.tokenizer.eos_token_id
    rows, _ = trainer._prepare_datasets()
    inner = trainer._create_trl_trainer(trainer._load_model(), rows, None)
    labels = [row["labels"] for row in rows.as_dataset()]
    assert all(inner.processing_class.eos_token_id in row for row in labels), "every answer ends, and that is learnt"
    batch = inner.data_collator([dict(row) for row in rows.as_dataset().select(range(4))])
    assert int(batch["weights"].sum()) == sum(label != IGNORED for row in labels[:4] for label in row), "padding is not"


def test_a_data_set_without_a_supervised_token(tiny_model: Path, tmp_path: Path) -> None:
    records = [{"messages": [{"role": "user", "content": f"only a question {i}"}]} for i in range(8)]
    path = write_experiment(tmp_path, tiny_model, task={"type": "generation"})
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    values = json.loads(path.read_text())
    values["data"] = {"train": "asked.jsonl", "test": "asked.jsonl", "format": "messages"}
    values["task"], values["train"]["loss_on"] = {"type": "generation"}, "assistant"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError) as caught:
        sftlib.SFTTrainer(sftlib.SFTConfig.from_file(path), output_dir=tmp_path / "out").train()
    assert (caught.value.exit_code, caught.value.stage_code) == (2, 65)
    assert "asked.jsonl" in str(caught.value) or "data.train" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("setting", ["train.precision=fp16", "model.dtype=float16"])
def test_fp16_on_a_cpu(tiny_model: Path, tmp_path: Path, setting: str) -> None:
    with pytest.raises(InputError, match=r"fp32|float32") as caught:
        started(tmp_path, tiny_model, setting).train()
    assert (caught.value.exit_code, caught.value.stage_code) == (2, 64)


def test_four_nodes_asked_of_one_machine(tiny_model: Path, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, tiny_model, parallel={"strategy": "ddp", "nodes": 4})
    said = sft(tmp_path, "train", str(path))
    assert said.returncode == 2 and "parallel.nodes" in said.stderr and "cluster profile" in said.stderr


def test_fewer_processes_than_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 x 4 = 8 processes \(ddp\), and 1 was started: torchrun --nnodes 2"):
        started(
            tmp_path,
            tiny_model,
            "cluster.scheduler=slurm",
            parallel={"strategy": "ddp", "nodes": 2, "gpus_per_node": 4},
        ).train()


def test_the_exit_code_of_an_element(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, build_tiny_model(tmp_path / "model"), lora={"target_modules": ["x_proj"]})
    said = sft(tmp_path, "train", str(path), **{ELEMENT_VARIABLE: "train/main"})
    assert said.returncode == 64 and "no module x_proj" in said.stderr and "Traceback" not in said.stderr


def test_a_batch_that_does_not_fit_in_memory(tiny_model: Path, tmp_path: Path) -> None:
    """A real allocation that fails: logits of a whole terabyte are asked for in the first step."""
    trainer = started(tmp_path, tiny_model)

    class Greedy(sftlib.train.callbacks.SFTCallback):  # type: ignore[name-defined]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            torch.empty(2**50)

    trainer.callbacks.append(Greedy())
    with pytest.raises(OutOfMemoryError, match=r"out of memory while training .*try train\.batch_size=2") as caught:
        trainer.train()
    assert isinstance(caught.value, SftError) and caught.value.exit_code == 1


def sft(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
