"""Answers as the rows of a shard: the schema that merge, metrics and other tools read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sftlib.artifacts.shards import GROUP_PREFIX, SCHEMA_VERSION
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Prompt
from sftlib.data.samples import Sample
from sftlib.infer.answers import Answer


def shard_table(
    config: SFTConfig,
    samples: Sequence[Sample],
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    first_row: int,
    list_columns: set[str],
) -> pa.Table:
    """One row a sample, in sample order. `list_columns`: group columns in which a sample may be of several groups."""
    columns = {
        "sample_id": pa.array([sample.id for sample in samples], pa.string()),
        "row": pa.array(range(first_row, first_row + len(samples)), pa.int64()),
        "gold": pa.array([sample.gold for sample in samples], pa.string()),
        "prediction": pa.array([answer.prediction for answer in answers], pa.string()),
        "reason": pa.array([answer.reason for answer in answers], pa.string()),
        "score": pa.array([answer.score for answer in answers], pa.float64()),
        "label_logprobs": pa.array([answer.label_logprobs for answer in answers], pa.list_(pa.float64())),
        "raw": pa.array([answer.raw for answer in answers], pa.string()),
        "prompt_tokens": pa.array([len(prompt.ids) for prompt in prompts], pa.int32()),
        "new_tokens": pa.array([answer.new_tokens for answer in answers], pa.int32()),
        "source": pa.array([sample.source for sample in samples], pa.string()),
        "original_label": pa.array([sample.original_label for sample in samples], pa.string()),
        **{
            GROUP_PREFIX + name: _group_column(samples, name, name in list_columns)
            for name in config.data.group_columns
        },
    }
    labels = "\x1f".join(config.task.labels)
    metadata = {
        "sftlib.schema_version": str(SCHEMA_VERSION),
        "sftlib.labels": labels,
        "sftlib.positive": config.task.positive or "",
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def multiple_membership(config: SFTConfig, samples: Sequence[Sample]) -> set[str]:
    """Group columns in which some sample of the whole test set belongs to several groups."""
    return {name for name in config.data.group_columns if any(len(s.groups.get(name, [])) > 1 for s in samples)}


def _group_column(samples: Sequence[Sample], name: str, several: bool) -> pa.Array:
    values = [sample.groups.get(name, []) for sample in samples]
    if several:
        return pa.array(values, pa.list_(pa.string()))
    return pa.array([value[0] if value else None for value in values], pa.string())
