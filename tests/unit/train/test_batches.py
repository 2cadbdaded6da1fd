"""What is chosen for which records, and that the choice changes nothing that is learnt."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sftlib
from sftlib.data.collation import FlatCollator
from sftlib.data.rendering import IGNORED, TrainingRow
from sftlib.data.rows import Rows
from sftlib.errors import InputError
from sftlib.models import tree_attention
from sftlib.models.tree_support import use_tree_attention
from sftlib.paths import ADAPTER_WEIGHTS
from sftlib.train.batches import plan_batches
from tests.posts import write_experiment
from tests.shapes import build_shape

SYSTEM = "decide between hate and normal: a post is hate when it demeans the people it is about, and normal otherwise"


def train(folder: Path, model: Path, out: str, *settings: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    experiment = write_experiment(folder, model, prompt={"system": SYSTEM}, data={"validation": "test.jsonl"})
    given = ["train.batch_size=2", "train.gradient_accumulation=4", "train.learning_rate=0.01", *settings]
    config = sftlib.SFTConfig.from_file(experiment, given)
    result = sftlib.SFTTrainer(config, output_dir=folder / out).train()
    lines = [json.loads(line) for line in (folder / out / "metrics.jsonl").read_text().splitlines()]
    return {**result, "losses": [line["loss"] for line in lines if "loss" in line]}, load_file(
        folder / out / "adapter" / ADAPTER_WEIGHTS
    )


def test_every_layout_learns_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    padded, wanted = train(tmp_path, tiny_model, "padded", "train.layout=padded")
    assert padded["batches"]["layout"] == "padded"
    for layout, settings in {
        "flat": ["train.layout=flat", "train.shared_prefix=off"],
        "shared": ["train.shared_prefix=auto"],
    }.items():
        result, weights = train(tmp_path, tiny_model, layout, *settings)
        assert result["batches"]["layout"] == layout
        assert result["losses"] == pytest.approx(padded["losses"], rel=1e-5)
        for name, weight in weights.items():
            torch.testing.assert_close(weight, wanted[name], rtol=1e-3, atol=2e-6)
    # two of the four accumulated batches of 2 fit behind one copy of the prompt: the same records, the same steps
    assert (result["batches"]["batch_size"], result["batches"]["accumulation"]) == (4, 2)
    assert result["batches"]["computed"] < 0.7 * result["batches"]["tokens"]


def test_planned_rows_hold_every_record(tiny_model: Path, tmp_path: Path) -> None:
    for out, settings in {
        "packed": ["train.packing=true", "train.max_length=256"],
        "budget": ["train.tokens_per_batch=256", "train.max_length=256", "train.shared_prefix=off"],
    }.items():
        result, _ = train(tmp_path, tiny_model, out, "train.gradient_accumulation=1", *settings)
        assert 1 < result["batches"]["rows"] < 24
        steps = result["batches"]["rows"] / result["batches"]["batch_size"]
        assert len(result["losses"]) == -(-steps // 1)
        assert result["metrics"]["train_loss"] > 0


def test_the_loss_of_an_evaluation_does_not_depend_on_its_batches(tiny_model: Path, tmp_path: Path) -> None:
    losses = []
    for out, settings in {"a": ["train.layout=padded"], "b": ["train.batch_size=8", "train.shared_prefix=on"]}.items():
        train(
            tmp_path,
            tiny_model,
            out,
            "train.max_steps=1",
            "train.learning_rate=1e-9",
            *settings,
        )
        lines = [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        losses += [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert len(losses) == 2 and losses[0] == pytest.approx(losses[1], rel=1e-5)


def rows(*lengths: int, prefix: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(0)
    begin = torch.randint(3, 300, (prefix,), generator=generator).tolist()
    all_ids = [begin + torch.randint(3, 300, (n - prefix,), generator=generator).tolist() for n in lengths]
    return Rows.of([TrainingRow(ids, [IGNORED] * (len(ids) - 2) + ids[-2:]) for ids in all_ids])


def config(**train: Any) -> sftlib.SFTConfig:
    return sftlib.SFTConfig.model_validate({"train": {"batch_size": 4, "gradient_accumulation": 2, **train}})


def test_sharing_is_chosen_where_it_pays() -> None:
    plan = plan_batches(config(), rows(*[60] * 40, prefix=50), build_shape("llama"))
    assert plan.layout == "shared" and plan.computed < 20 and plan.batch_size * plan.accumulation == 8
    assert "saved" in plan.sentence
    assert plan_batches(config(), rows(*[60] * 40), build_shape("llama")).layout == "flat"
    assert plan_batches(config(shared_prefix="off"), rows(*[60] * 40, prefix=50), build_shape("llama")).layout == "flat"


def test_a_model_that_cannot_is_padded_or_refused_by_name() -> None:
    model = build_shape("llama", attention_dropout=0.1)
    plan = plan_batches(config(), rows(*[60] * 40, prefix=50), model)
    assert plan.layout == "padded" and "attention_dropout" in plan.reason
    with pytest.raises(InputError, match=r"train\.packing: this model's rows must be padded: attention_dropout"):
        plan_batches(config(packing=True), rows(*[60] * 40), model)


# --- packed and unpacked: the loss of each record


def record_losses(model: Any, records: list[dict[str, list[int]]], members: list[list[int]]) -> list[float]:
    """The loss of each record when rows hold these members."""
    losses = {}
    for row in members:
        batch = FlatCollator(share=False)([{"records": [records[i] for i in row]}])
        names = ("input_ids", "position_ids", "attention_mask")
        with torch.no_grad():
            logits = model(**{name: batch[name] for name in names}, use_cache=False).logits[0].float()
        start = 0
        for i in row:
            ids, labels = records[i]["input_ids"], torch.tensor(records[i]["labels"])
            own = logits[start : start + len(ids)]
            losses[i] = float(torch.nn.functional.cross_entropy(own[:-1], labels[1:], ignore_index=IGNORED))
            start += len(ids)
    return [losses[i] for i in range(len(records))]


@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral", "gemma", "gpt_oss"])
def test_the_loss_of_a_record_does_not_depend_on_its_row(shape: str) -> None:
    held = rows(30, 11, 19, 25, 8, 14)
    records = [held[i] for i in range(len(held))]
    for record in records:  # the first token of a record is nobody's target, though its label says so
        record["labels"][0] = record["input_ids"][0]
    plain = build_shape(shape)
    with torch.no_grad():
        alone = [
            float(plain(input_ids=torch.tensor([r["input_ids"]]), labels=torch.tensor([r["labels"]])).loss) for r in records
        ]  # fmt: skip
    model = build_shape(shape)
    assert use_tree_attention(model) is None
    for members in ([[0], [1], [2], [3], [4], [5]], [[0, 1, 2], [3, 4, 5]], [[5, 3, 1, 0, 2, 4]]):
        assert record_losses(model, records, members) == pytest.approx(alone, rel=1e-5)


def test_a_leak_between_records_of_a_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    held = rows(30, 11, 19)
    records = [held[i] for i in range(3)]
    model = build_shape("llama")
    assert use_tree_attention(model) is None
    alone = record_losses(model, records, [[0], [1], [2]])
    whole = tree_attention._parts
    monkeypatch.setattr(
        tree_attention, "_parts",
        lambda table, *rest: whole([(start, end, table[-1][1], first) for start, end, _, first in table], *rest),
    )  # fmt: skip
    leaked = record_losses(model, records, [[0, 1, 2]])
    assert leaked[0] == pytest.approx(alone[0], rel=1e-5)  # nothing stands before it
    assert all(abs(a - b) > 1e-3 for a, b in zip(leaked[1:], alone[1:], strict=True))


def test_flash_attention_is_given_cumulative_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with FlashAttention's contract, by its definition: records are told apart by cu_seq_lens alone."""
    from transformers import AttentionInterface, AttentionMaskInterface

    def by_lengths(module: Any, query: Any, key: Any, value: Any, mask: Any, *, cu_seq_lens_q: Any, max_length_q: int,
                   scaling: float, **_: Any) -> Any:  # fmt: skip
        assert mask is None and max_length_q == int(cu_seq_lens_q.diff().max())
        edges = cu_seq_lens_q.tolist()
        table = torch.tensor([[a, b, b, 0] for a, b in itertools.pairwise(edges)], dtype=torch.int32)[None, None]
        seen = tree_attention.visible(table, query.shape[2])
        return tree_attention.dense_attention(query, key, value, seen, scaling), None

    AttentionInterface.register("by_lengths", by_lengths)
    AttentionMaskInterface.register("by_lengths", lambda *_, **__: None)
    held = rows(30, 11, 19)
    records = [held[i] for i in range(3)]
    model = build_shape("llama")
    wanted = [model(input_ids=torch.tensor([r["input_ids"]])).logits[0] for r in records]
    model.set_attn_implementation("by_lengths")
    batch = FlatCollator(share=False, varlen=True)(records)
    assert "attention_mask" not in batch
    names = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    got = model(**{name: batch[name] for name in names}, use_cache=False).logits[0]
    torch.testing.assert_close(got, torch.cat(wanted), rtol=1e-5, atol=1e-5)


def test_torch_varlen_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from torch.nn.attention import varlen

    signature = inspect.signature(varlen.varlen_attn)

    def stand_in(*args: Any, **kwargs: Any) -> torch.Tensor:
        given = signature.bind(*args, **kwargs).arguments
        window = given["window_size"][0]
        edges = given["cu_seq_q"].tolist()
        table = torch.tensor([[a, b, b, 0] for a, b in itertools.pairwise(edges)], dtype=torch.int32)[None, None]
        seen = tree_attention.visible(table, edges[-1], None if window < 0 else window + 1)
        states = (given[name].transpose(0, 1)[None] for name in ("query", "key", "value"))
        return tree_attention.dense_attention(*states, seen, given["scale"])[0]

    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    torch.manual_seed(0)
    states = [torch.randn(1, heads, 40, 8) for heads in (4, 2, 2)]
    edges = torch.tensor([0, 15, 40], dtype=torch.int32)
    table = torch.tensor([[0, 15, 15, 0], [15, 40, 40, 0]], dtype=torch.int32)[None, None]
    for window in (None, 6):
        got = tree_attention._varlen(*states, edges, 25, 0.3, window)
        wanted = tree_attention.tree_attention(None, *states, table, scaling=0.3, sliding_window=window)[0]
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
