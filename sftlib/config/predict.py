"""Sections `predict` and `report`: how the test set is answered, and what is made of the answers."""

from __future__ import annotations

from typing import Literal

from sftlib.config.base import Section, knob, knobs

# Keys that cut the work differently and shape no answer.
COSMETIC = ("baseline", "num_shards", "shards_per_job", "workers", "batch_tokens", "prefix_cache")


class PredictSection(Section):
    """How every cell and the baseline answer the test set."""

    baseline: bool = knob(True, "also predict with the base model and no adapter, with the very same prompts")
    method: Literal["auto", "score", "generate"] = knob(
        "auto",
        "score: log-likelihood of each label; generate: text, then the parser; auto: score where there are labels",
    )
    engine: Literal["transformers", "vllm", "dummy"] = knob(
        "transformers", "who runs the model; vllm is an extra; dummy makes answers up, to try out all around the model"
    )
    num_shards: int = knob(1, "parts of the test set; each is an element of the array", ge=1)
    shards_per_job: int = knob(
        1, "shards that one element takes, one after the other, with the model loaded once", ge=1
    )
    workers: int | None = knob(
        None,
        "processes that share an element's shards, each with a model and a slot of its own; default: one a device; no more "
        "than predict.shards_per_job",
        ge=1,
    )
    batch_tokens: int | None = knob(
        None, "tokens in a batch, padding included; default: 4,096, and 512 for scores on a CPU", ge=64
    )
    prefix_cache: bool = knob(True, "what all prompts begin with is run once and reused; off: whole prompts, slower")
    max_new_tokens: int = knob(64, "longest answer in tokens (generate)", ge=1)
    temperature: float = knob(0.0, "0: greedy", ge=0)
    top_p: float = knob(1.0, "nucleus sampling", gt=0, le=1)
    stop: list[str] = knobs("strings that end an answer", list)
    constrain: bool = knob(False, "generate: let through only answers that are one of the task's labels")
    calibrate: Literal["none", "contextual", "batch"] = knob(
        "none", "correction of label priors, fitted off the test set"
    )
    threshold: Literal["argmax", "f1", "youden"] = knob(
        "argmax", "decision on the positive label; f1 and youden are fitted on validation"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = knob(
        "auto", "type of the base weights; auto: as trained"
    )
    seed: int = knob(0, "seed of sampling", ge=0)


class ReportSection(Section):
    """What the last job computes."""

    confidence: float = knob(0.95, "level of all intervals", gt=0.5, lt=1)
    bootstrap: int = knob(10_000, "replicates", ge=100)
    seed: int = knob(0, "seed of bootstrap and permutation", ge=0)
    reference_group: str | None = knob(None, "group to which disparity ratios refer; default: the largest")
    intersections: bool = knob(
        True, "with several data.group_columns also report every two of them crossed (race × gender)"
    )
    small_group: int = knob(30, "groups with fewer positives or negatives are flagged", ge=1)
    calibration_bins: int = knob(10, "bins of ECE and of the reliability diagram", ge=2)
    hybrid_weight: float | None = knob(
        None,
        "also give weight × F1 + (1 - weight) × (1 - equalized odds difference of the first group column); 0.7 is usual",
        ge=0, le=1,
    )  # fmt: skip
    metrics_columns: Literal["sftlib", "record"] = knob("sftlib", "column names of the CSV files")
