"""What training does on a GPU, on random models with the shapes of an 8B Llama and of gpt-oss-20b; the very same code on a
CPU with tiny shapes, so that it is exercised where there is no GPU.

On a GPU: pytest -m gpu tests/gpu -s   (the figures are printed; the large shapes need about 50 GB of disk)
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import sftlib
from sftlib.config.launch import torchrun_argv
from sftlib.errors import StoppedError
from sftlib.paths import CellPaths, RunPaths
from sftlib.train.callbacks import SFTCallback
from tests.posts import write_experiment
from tests.tiny import build_tokenizer

STEPS = 6
# Name -> (model class, values of its configuration). The large ones are the published configurations.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-llama": ("Llama", {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                             "num_attention_heads": 4, "num_key_value_heads": 2}),
    "tiny-gpt-oss": ("GptOss", {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
                                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                                "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16}),
    "llama-8b": ("Llama", {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}),
    "gpt-oss-20b": ("GptOss", {"hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
                               "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
                               "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128,
                               "vocab_size": 201088}),
}  # fmt: skip
EVERYWHERE = ["tiny-llama", "tiny-gpt-oss"]
ON_A_GPU = [pytest.param(name, marks=[pytest.mark.gpu, pytest.mark.slow]) for name in ("llama-8b", "gpt-oss-20b")]


@pytest.fixture(scope="module", params=[*EVERYWHERE, *ON_A_GPU])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights in bfloat16, made on the device: the CPU would take many minutes for the large ones."""
    import transformers

    kind, values = SHAPES[request.param]
    folder = tmp_path_factory.mktemp("shape") / request.param
    tokenizer = build_tokenizer()
    config = getattr(transformers, f"{kind}Config")(**{
        "vocab_size": len(tokenizer), "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2, **values,
    })  # fmt: skip
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        built = getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16)
    built.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del built
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return folder


SETTINGS: dict[str, Any] = {
    "model.dtype": "bfloat16", "model.quantization.kind": "nf4", "train.precision": "bf16", "lora.dropout": 0.0,
    "train.gradient_checkpointing": True, "train.optimizer": "paged_adamw_8bit", "train.max_steps": STEPS,
    "train.batch_size": 2, "train.gradient_accumulation": 2, "train.save_steps": 3, "lora.target_modules": ["q_proj", "v_proj"],
}  # fmt: skip


def words(**further: Any) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in {**SETTINGS, **further}.items()]


def trained(folder: Path, model: Path, out: str, *callbacks: SFTCallback) -> dict[str, Any]:
    config = sftlib.SFTConfig.from_file(write_experiment(folder, model), words())
    return sftlib.SFTTrainer(config, callbacks, output_dir=folder / out).train()


def losses(cell: CellPaths) -> list[float]:
    lines = [json.loads(line) for line in cell.metrics.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


class StopAfter(SFTCallback):
    """As a scheduler would, in the middle of a training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            Path(self.file).touch()

    file = ""


def test_a_4bit_base_with_checkpointing_and_paged_8bit_optimizer_learns_and_resumes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = trained(tmp_path, model, "whole")
    whole = losses(CellPaths(tmp_path / "whole"))
    assert len(whole) == STEPS and all(map(math.isfinite, whole))
    assert 0 < result["trainable_weights"] < result["weights"] / 20 or model.name.startswith("tiny")
    print(f"\n{model.name}: {json.dumps(result['performance'])}")

    stop = StopAfter(2)
    stop.file = str(tmp_path / "stop")
    monkeypatch.setenv("SFTLIB_STOP_FILE", stop.file)
    with pytest.raises(StoppedError):
        trained(tmp_path, model, "parts", stop)
    Path(stop.file).unlink()
    stop.step = -1
    trained(tmp_path, model, "parts", stop)
    # The kernels of a GPU need not repeat bit by bit; on a CPU they do.
    assert losses(CellPaths(tmp_path / "parts")) == pytest.approx(
        whole, abs=2e-2 if torch.cuda.is_available() else 1e-6
    )


def test_fsdp_on_one_device_learns_what_one_process_learns(model: Path, tmp_path: Path) -> None:
    if model.name == "tiny-gpt-oss":
        pytest.skip("one tiny shape is enough where there is no GPU")
    experiment = write_experiment(tmp_path, model)
    found = {}
    for strategy in ("single", "fsdp"):
        folder = tmp_path / strategy
        stage = ["train", str(experiment), "--runs-dir", str(folder)]
        stage += [word for setting in words(**{"parallel.strategy": strategy, "train.optimizer": "adamw_torch"})
                  for word in ("--set", setting)]  # fmt: skip
        command = (
            [sys.executable, "-m", "sftlib", *stage] if strategy == "single" else torchrun_argv(stage, processes=1)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert strategy == "single" or "engine fsdp: fsdp, " in done.stderr
        found[strategy] = losses(RunPaths((folder / "latest").resolve()).cell("main"))
    assert found["fsdp"] == pytest.approx(found["single"], abs=2e-2)
