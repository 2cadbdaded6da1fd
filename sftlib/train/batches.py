"""How the records of a cell become batches: padded, flat, or behind shared beginnings; chosen by cost, said in one line.

An optimiser step holds the same records whatever is chosen, unless rows are planned (`train.packing`,
`train.tokens_per_batch`): then it holds the same number of rows.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from sftlib.config.batching import WORTH, Work, merged_accumulation, padded_work, tree_work
from sftlib.config.tree import SFTConfig
from sftlib.data.collation import FlatCollator, SupervisedCollator
from sftlib.data.layout import lay_out
from sftlib.data.packing import plan_rows, plan_shared_rows
from sftlib.data.rows import Rows
from sftlib.errors import InputError
from sftlib.models.tree_support import use_tree_attention

_SAMPLED = 24  # batches that the choice is made on


@dataclass(frozen=True)
class BatchPlan:
    """The choice, with what it was made on."""

    layout: str  # padded, flat, shared
    reason: str
    batch_size: int
    accumulation: int
    rows: list[list[int]] | None = None  # planned rows of record numbers
    tokens: float = 0.0  # mean tokens of a record
    computed: float = 0.0  # mean tokens computed for a record
    varlen: bool = False

    @property
    def sentence(self) -> str:
        saved = 100 * (1 - self.computed / self.tokens) if self.tokens else 0.0
        computes = f"{self.computed:.0f} tokens computed of {self.tokens:.0f} a record"
        how = f"{computes} ({saved:.0f}% saved)" if saved >= 1 else computes
        packed = f"; {sum(map(len, self.rows))} records in {len(self.rows)} rows" if self.rows is not None else ""
        return f"batches {self.layout}: {how}{packed}; {self.reason}"

    def facts(self) -> dict[str, Any]:
        """What the summary keeps of it."""
        facts = asdict(replace(self, rows=None))
        return {**facts, "rows": len(self.rows) if self.rows is not None else None}

    def applied(self, config: SFTConfig) -> SFTConfig:
        """The configuration with the batch sizes that the trainer shall use."""
        train = config.train.model_copy(
            update={"batch_size": self.batch_size, "gradient_accumulation": self.accumulation}
        )
        return config.model_copy(update={"train": train})

    def items(self, rows: Rows) -> int:
        """How many items an epoch has."""
        return len(rows) if self.rows is None else len(self.rows)

    def collator(self, pad_id: int, multiple: int) -> SupervisedCollator | FlatCollator:
        if self.layout == "padded":
            return SupervisedCollator(pad_id, multiple)
        return FlatCollator(share=self.layout == "shared", varlen=self.varlen)


def plan_batches(config: SFTConfig, rows: Rows, model: Any) -> BatchPlan:
    """Choose the layout for these records and this model, and switch the model's attention to it."""
    train = config.train
    refusal = _refusal(config, model)
    asked = {"layout": train.layout == "flat", "shared_prefix": train.shared_prefix == "on",
             "packing": train.packing, "tokens_per_batch": train.tokens_per_batch is not None}  # fmt: skip
    wants_flat = next((f"train.{key}" for key, is_asked in asked.items() if is_asked), None)
    if refusal and wants_flat:
        raise InputError(f"{wants_flat}: this model's rows must be padded: {refusal}; drop the setting")
    works = _works(config, rows)
    plan = _chosen(config, works, refusal, model)
    if plan.layout == "shared":
        plan = _merged(plan, rows, works)
    plan = replace(plan, tokens=rows.tokens / len(rows), computed=works[plan.layout].tokens / works["records"].tokens)
    if train.packing or train.tokens_per_batch:
        plan = _planned(plan, config, rows)
    return plan


def dataset_of(rows: Rows, members: list[list[int]] | None = None) -> Any:
    """A `datasets.Dataset` whose items are records, or planned rows of several; tokens are looked up when asked for."""
    if members is None:
        return rows.as_dataset()
    from datasets import Dataset

    def looked_up(batch: dict[str, Any]) -> dict[str, Any]:
        return {"records": [[rows.arrays(record) for record in row] for row in batch["members"]]}

    return Dataset.from_dict({"members": members}).with_transform(looked_up)


def _refusal(config: SFTConfig, model: Any) -> str | None:
    """Why rows must be padded; None after the model's attention was switched."""
    if config.train.layout == "padded":
        return "train.layout is padded"
    if config.train.router_aux_loss:
        return "train.router_aux_loss counts each record's tokens"
    if config.train.backend == "unsloth":
        return "unsloth brings its own attention"
    if is_varlen(model):
        return None
    refusal = use_tree_attention(model)
    if refusal and config.parallel.world_size > 1 and "not read as they are alone" in refusal:
        raise InputError(f"train.layout: {refusal}: set train.layout to padded")  # ranks must not choose differently
    return refusal


def is_varlen(model: Any) -> bool:
    """FlashAttention reads flat rows by cumulative lengths; it has no word for shared beginnings."""
    return str(model.config._attn_implementation).startswith("flash_attention")


def _works(config: SFTConfig, rows: Rows) -> dict[str, Work]:
    """The work of sampled batches under each layout; `records` counts the records themselves."""
    train = config.train
    order = random.Random(train.seed)
    step = min(len(rows), train.batch_size * train.gradient_accumulation)
    total = {"padded": Work(), "flat": Work(), "shared": Work(), "records": Work()}
    for _ in range(_SAMPLED):
        chosen = order.sample(range(len(rows)), step)
        records = [rows.arrays(record) for record in chosen]
        for start in range(0, step, train.batch_size):
            lengths = [len(record["input_ids"]) for record in records[start : start + train.batch_size]]
            total["padded"] += padded_work(lengths, train.pad_to_multiple)
            total["flat"] += tree_work([(0, length, length) for length in lengths])
        total["shared"] += tree_work(lay_out(records).segments.tolist())
        total["records"] += Work(step)
    return total


def _chosen(config: SFTConfig, works: dict[str, Work], refusal: str | None, model: Any) -> BatchPlan:
    train = config.train
    sizes = (train.batch_size, train.gradient_accumulation)
    if refusal:
        return BatchPlan("padded", refusal, *sizes)
    varlen = is_varlen(model)
    shape = _shape(model)
    costs = {layout: works[layout].flops(*shape) for layout in ("padded", "flat", "shared")}
    gain = costs["flat"] / costs["shared"]
    if train.shared_prefix == "on":
        if varlen:
            raise InputError(
                "train.shared_prefix: flash attention has no word for shared beginnings: set model.attention to auto"
            )
        return BatchPlan("shared", "train.shared_prefix is on", *sizes)
    if train.shared_prefix == "auto" and gain >= WORTH and not varlen:
        return BatchPlan("shared", f"shared beginnings save a factor of {gain:.1f}", *sizes)
    gain = costs["padded"] / costs["flat"]
    must = train.layout == "flat" or train.packing or bool(train.tokens_per_batch)
    if must or gain >= (WORTH if torch.cuda.is_available() else 1.0):
        reason = f"padding would cost a factor of {gain:.1f}"
        return BatchPlan("flat", reason, *sizes, varlen=varlen)
    return BatchPlan("padded", f"flat rows would gain a factor of {gain:.1f} only", *sizes)


def _shape(model: Any) -> tuple[int, int, int]:
    """Parameters outside the embeddings, layers, and width of the attention."""
    config = model.config.get_text_config()
    embedding = model.get_input_embeddings().weight.numel()
    parameters = max(1, model.num_parameters() - embedding)
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return parameters, config.num_hidden_layers, width


def _merged(plan: BatchPlan, rows: Rows, works: dict[str, Work]) -> BatchPlan:
    """Accumulated batches become one while it computes no more tokens than one padded batch of the longest would."""
    budget = plan.batch_size * int(rows.lengths.max())
    parts = merged_accumulation(plan.accumulation, works["shared"].tokens / _SAMPLED, budget)
    return replace(plan, batch_size=plan.batch_size * plan.accumulation // parts, accumulation=parts)


def _planned(plan: BatchPlan, config: SFTConfig, rows: Rows) -> BatchPlan:
    """Rows of several records, as full as they get; with a token budget one such row is a batch."""
    train = config.train
    capacity = train.tokens_per_batch or train.max_length
    members = plan_shared_rows(rows, capacity) if plan.layout == "shared" else plan_rows(rows.lengths, capacity)
    sample = random.Random(train.seed).sample(members, min(len(members), _SAMPLED))
    tokens = [len(lay_out([rows.arrays(r) for r in row], share=plan.layout == "shared").ids) for row in sample]
    computed = sum(tokens) / sum(map(len, sample))
    batch = 1 if train.tokens_per_batch else train.batch_size
    return replace(plan, rows=members, batch_size=batch, accumulation=train.gradient_accumulation, computed=computed)
