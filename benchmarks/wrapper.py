"""What the wrapper costs: sftlib's training against a bare trl.SFTTrainer with the same arguments, model, rows and order.

The two take turns. Every token is supervised in `all`, so that both do the same arithmetic and what is left is the wrapper
(callbacks, metrics lines, progress, checks); `completion` is the usual case, in which ours computes less. CPU seconds of the
process are compared, which a busy machine disturbs less than the clock. The loss of every step is compared as well.

python -m benchmarks.wrapper [--steps 12] [--rounds 5] [--write]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import publish

LIMIT = 1.02  # of bare TRL's time, where both do the same arithmetic


def build_model(folder: Path) -> Path:
    """A random Llama large enough that a step is arithmetic and not Python."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def wrapped(experiment: Path, out: Path, settings: list[str]) -> tuple[float, float, list[float], Any]:
    """CPU seconds, seconds and losses of the steps under sftlib; and the trainer with its rows."""
    import sftlib

    trainer = sftlib.SFTTrainer(sftlib.SFTConfig.from_file(experiment, settings), output_dir=out)
    trainer._load_template()
    rows, _ = trainer._prepare_datasets()
    inner = trainer._create_trl_trainer(trainer._load_model(), rows, None)
    return *_timed(lambda: trainer._run(inner)), _losses(inner), (trainer, rows)


def bare(made: Any) -> tuple[float, float, list[float]]:
    """The same arguments, model and rows in TRL's own trainer, with its own collator and callbacks."""
    import trl
    from transformers import PrinterCallback, set_seed

    from sftlib.models.loading import load_base
    from sftlib.train.adapter import lora_config
    from sftlib.train.arguments import training_arguments

    trainer, rows = made
    set_seed(trainer.config.train.seed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(trainer.config, Path(folder), len(rows), has_validation=False)
        plain = trl.SFTTrainer(
            model=load_base(trainer.config), args=arguments, train_dataset=rows.as_dataset(),
            processing_class=trainer.tokenizer, peft_config=lora_config(trainer.config),
        )  # fmt: skip
        plain.remove_callback(PrinterCallback)
        return *_timed(plain.train), _losses(plain)


def _timed(work: Any) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _losses(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def measure(folder: Path, experiment: Path, supervised: str, steps: int, rounds: int) -> dict[str, Any]:
    """Both in turn; the first round warms up and is not counted."""
    settings = [
        f"train.loss_on={supervised}",
        f"train.max_steps={steps}",
        "train.layout=padded",
        "train.pad_to_multiple=1",
    ]
    ratios, ours, theirs, apart = [], [], [], 0.0
    for turn in range(rounds + 1):
        cpu, wall, losses, made = wrapped(experiment, folder / f"{supervised}-{turn}", settings)
        plain_cpu, plain_wall, plain_losses = bare(made)
        apart = max(apart, *(abs(a - b) for a, b in zip(losses, plain_losses, strict=True)))
        if turn:
            ratios.append(cpu / plain_cpu)
            ours.append(wall)
            theirs.append(plain_wall)
    return {
        "supervised": supervised, "steps": steps, "rounds": rounds,
        "sftlib s": round(statistics.median(ours), 2), "trl s": round(statistics.median(theirs), 2),
        "CPU time against trl (median)": round(statistics.median(ratios), 4),
        "lowest": round(min(ratios), 4), "highest": round(max(ratios), 4), "largest difference of a loss": f"{apart:.1e}",
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write results/wrapper.json and wrapper.md")
    arguments = parser.parse_args()
    from tests.posts import write_experiment

    with tempfile.TemporaryDirectory(prefix="sft-wrapper-") as name:
        folder = Path(name)
        experiment = write_experiment(folder, build_model(folder / "model"), train=8 * arguments.steps)
        rows = [measure(folder, experiment, kind, arguments.steps, arguments.rounds) for kind in ("all", "completion")]
    publish("wrapper", "sftlib against bare TRL with the same settings", rows, write=arguments.write, notes=[
        f"`all`: the same arithmetic on both sides; at most {LIMIT} is asked for. `completion`: the usual case.",
    ])  # fmt: skip
    return 0 if rows[0]["CPU time against trl (median)"] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
