"""Sections `train` and `parallel`: the optimisation and the processes that share it."""

from __future__ import annotations

from typing import Literal

from sftlib.config.base import Section, knob, knobs

Logger = Literal["tensorboard", "wandb", "trackio", "mlflow"]


class TrainSection(Section):
    """How the adapter is trained."""

    enabled: bool = knob(
        True, "false: nothing is trained; the base model, and adapters named by lora.adapter, answer the test records"
    )
    backend: Literal["trl", "unsloth"] = knob("trl", "who runs the training loop")
    epochs: float = knob(3.0, "passes over the training records", gt=0)
    max_steps: int | None = knob(None, "stop after this many optimiser steps, whatever epochs says", ge=1)
    batch_size: int = knob(4, "records a device holds at once", ge=1)
    gradient_accumulation: int = knob(
        4, "batches per optimiser step: effective batch = batch_size x this x devices", ge=1
    )
    learning_rate: float = knob(2e-4, "peak learning rate", gt=0)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt", "cosine_with_min_lr"] = (
        knob("cosine", "course of the learning rate after warm-up")
    )
    warmup_ratio: float = knob(0.03, "share of the steps in which the learning rate rises", ge=0, lt=1)
    optimizer: Literal[
        "auto",
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "adafactor",
        "sgd",
    ] = knob("auto", "auto: fused AdamW on a GPU, AdamW elsewhere; 8-bit and paged ones need bitsandbytes")
    weight_decay: float = knob(0.01, "decoupled weight decay", ge=0)
    max_grad_norm: float = knob(1.0, "gradients are clipped to this norm; 0: never", ge=0)
    label_smoothing: float = knob(0.0, "share of the target spread over the vocabulary", ge=0, lt=1)
    neftune_alpha: float | None = knob(None, "noise on embeddings in training", gt=0)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = knob(
        "auto", "mixed precision; auto: bf16 where the hardware has it"
    )
    gradient_checkpointing: bool | Literal["selective", "auto"] = knob(
        False,
        "recompute activations in the backward pass: less memory, 20-30% slower; selective: all but attention; auto: only where the estimate says that it would not fit",
    )
    activation_offload: bool = knob(False, "keep activations in host memory until the backward pass; needs a GPU")
    kernels: Literal["auto", "torch"] = knob(
        "auto",
        "auto: adapters without wide copies; Liger and Cut Cross Entropy where they are installed and the device is theirs; torch: none",
    )
    compile: bool = knob(
        False, "compile each decoder layer: faster steps after minutes of compiling; needs a C++ compiler"
    )
    loss_on: Literal["completion", "assistant", "all"] = knob("completion", "which tokens are supervised")
    max_length: int = knob(1024, "longest record in tokens", ge=8)
    overlong: Literal["error", "drop", "truncate_prompt"] = knob("error", "what happens to a longer record")
    layout: Literal["auto", "padded", "flat"] = knob(
        "auto", "records of a batch side by side with padding, or in one row without any; auto: what costs less"
    )
    shared_prefix: Literal["auto", "on", "off"] = knob(
        "auto",
        "tokens that records of a batch begin with are computed once for all; auto: where it saves a tenth or more",
    )
    packing: bool = knob(
        False,
        "rows of max_length tokens filled best-fit with whole records, attention kept apart; batch_size counts rows",
    )
    tokens_per_batch: int | None = knob(
        None, "a batch is one row filled with records up to this many tokens, in place of batch_size records", ge=8
    )
    head_tokens: int | None = knob(
        None, "supervised tokens projected on the vocabulary at once; default: as many as give 256 MiB of logits", ge=1
    )
    router_aux_loss: float = knob(
        0.0, "weight of the load-balancing loss of mixture-of-experts models; 0: the router is left alone", ge=0
    )
    group_by_length: bool = knob(False, "batches of like length: less padding")
    pad_to_multiple: int = knob(8, "rows are padded to the longest in the batch, rounded up to this", ge=1)
    logging_steps: int = knob(5, "optimiser steps between two lines of metrics", ge=1)
    eval_steps: int | None = knob(None, "optimiser steps between evaluations; default: once an epoch", ge=1)
    save_steps: int | None = knob(None, "optimiser steps between checkpoints; default: once an epoch", ge=1)
    save_total_limit: int = knob(3, "checkpoints kept", ge=1)
    early_stopping_patience: int | None = knob(None, "evaluations without improvement before stopping", ge=1)
    early_stopping_threshold: float = knob(0.0, "what counts as improvement", ge=0)
    best_metric: str = knob(
        "eval_loss", "what is best, for keep_best and early stopping; other than eval_loss needs task_metrics_on"
    )
    keep_best: bool = knob(False, "keep the best model by best_metric instead of the last")
    sample_generations: int = knob(0, "validation answers shown and kept (samples.jsonl) at each evaluation", ge=0)
    task_metrics_on: int = knob(
        0,
        "validation records that the model answers at each evaluation, for eval_accuracy, eval_f1, eval_parse_rate, ...",
        ge=0,
    )
    loggers: list[Logger] = knob(["tensorboard"], "where metrics go besides metrics.jsonl")
    run_name: str | None = knob(None, "name shown by the loggers; default: run and cell")
    seed: int = knob(0, "seed of initialisation, order and dropout", ge=0)
    threads: int = knob(1, "CPU threads a process uses", ge=1)
    save_merged_model: bool = knob(False, "also fold the adapter into the base, by its own stage")


class ParallelSection(Section):
    """How many processes train one cell together, and what they share."""

    strategy: Literal["single", "ddp", "fsdp", "zero1", "zero2", "zero3"] = knob(
        "single", "single: one process; ddp: copies; fsdp and zero*: weights or optimiser state in shards"
    )
    nodes: int = knob(1, "machines a cell trains on", ge=1)
    gpus_per_node: int = knob(1, "processes (one a device) on each machine", ge=1)
    cpu_offload: bool = knob(False, "keep optimiser state (zero) or weights (fsdp) in host memory")
    timeout_min: int = knob(30, "minutes before a silent collective counts as hung", ge=1)

    @property
    def world_size(self) -> int:
        return self.nodes * self.gpus_per_node


class SweepSection(Section):
    """Which cells: every combination of `grid`, each entry of `list`, draws of `random`; each with every seed."""

    grid: dict[str, list] = knobs("dotted key -> values; all combinations")
    list_: list[dict] = knob([], "each entry sets dotted keys; `id` names the cell", alias="list")
    random: dict[str, dict] = knobs("dotted key -> {choice: [...]} | {uniform: [a, b]} | {log_uniform: [a, b]}")
    draws: int = knob(0, "number of random combinations", ge=0)
    draw_seed: int = knob(0, "seed of the draws", ge=0)
    seeds: list[int] = knobs("train.seed values; each cell is trained once with each", list)
