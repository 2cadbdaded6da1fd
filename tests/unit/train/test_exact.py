"""The fast path is the slow one: loss and every LoRA gradient are those of plain TRL on the same records, in fp32.

Each trick alone and all of them, on the shapes whose attention differs, with one beginning for all records, several,
nested ones, none, and with one record.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer

from sftlib.data.collation import FlatCollator, SupervisedCollator
from sftlib.data.rendering import IGNORED
from sftlib.models import tree_attention
from sftlib.models.low_rank import speed_up_adapters
from sftlib.models.tree_support import use_tree_attention
from sftlib.train.loss import SupervisedTrainer
from tests.shapes import build_shape

SHAPES = ["llama", "qwen", "gemma", "gpt_oss"]
LIMIT = 1e-5
TRICKS: dict[str, tuple[Any, int | None, bool]] = {  # collator, places of the head at a time, adapters by our own way
    "supervised places only": (SupervisedCollator(2, 8), None, False),
    "chunked head": (SupervisedCollator(2, 8), 3, False),
    "flat rows": (FlatCollator(share=False), None, False),
    "shared beginnings": (FlatCollator(share=True), None, False),
    "thin adapters": (SupervisedCollator(2, 8), None, True),
    "all": (FlatCollator(share=True, min_shared=4), 3, True),
}


def tokens(count: int) -> list[int]:
    return [random.randrange(3, 320) for _ in range(count)]


def record(ids: list[int], answer: int) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": [IGNORED] * (len(ids) - answer) + ids[len(ids) - answer :]}


def records(kind: str) -> list[dict[str, list[int]]]:
    random.seed(1)
    begin, other, shots = tokens(24), tokens(30), tokens(18)
    if kind == "one beginning":
        return [record(begin + tokens(random.randint(6, 12)), 3) for _ in range(5)]
    if kind == "different beginnings":
        return [record(start + tokens(random.randint(6, 12)), 3) for start in (begin, other, begin, other, tokens(20))]
    if kind == "nested beginnings":
        return [record(begin + more + tokens(7), 2) for more in (shots, shots, [], [], shots[:17])]
    if kind == "all tokens supervised":
        return [record(begin + tokens(8), 32) for _ in range(3)]
    if kind == "nothing shared":
        return [record(tokens(random.randint(9, 30)), 4) for _ in range(3)]
    return [record(tokens(25), 3)]


KINDS = [
    "one beginning",
    "different beginnings",
    "nested beginnings",
    "all tokens supervised",
    "nothing shared",
    "one record",
]


def build(kind: type, shape: str, folder: Path, tokenizer: Any, *, lora: dict[str, Any], smoothing: float = 0.0, router: float = 0.0,
          flat: bool = False, **further: Any) -> trl.SFTTrainer:  # fmt: skip
    base = build_shape(shape)
    if flat:
        assert use_tree_attention(base) is None
    if "lm_head" in lora.get("target_modules", ()):
        model: Any = base
        given = {"peft_config": LoraConfig(r=4, lora_dropout=0.0, **lora)}
    else:
        model, given = get_peft_model(base, LoraConfig(r=4, lora_dropout=0.0, **lora)), {}
    arguments = trl.SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=8, max_steps=1, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, save_strategy="no", disable_tqdm=True, router_aux_loss_coef=router,
        label_smoothing_factor=smoothing, dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
    )  # fmt: skip
    trainer = kind(model=model, args=arguments, train_dataset=Dataset.from_list(records("one record")),
                   processing_class=tokenizer, **given, **further)  # fmt: skip
    torch.manual_seed(5)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return trainer


def measure(trainer: trl.SFTTrainer, rows: list[dict[str, list[int]]]) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    grads = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.item(), grads


def errors(
    got: tuple[float, dict[str, torch.Tensor]], wanted: tuple[float, dict[str, torch.Tensor]]
) -> dict[str, float]:
    assert got[1].keys() == wanted[1].keys() and len(wanted[1]) >= 16
    relative = {name: float((got[1][name] - grad).norm() / grad.norm()) for name, grad in wanted[1].items()}
    return {"loss": abs(got[0] - wanted[0]) / wanted[0], **relative}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_trick_and_all_of_them_change_nothing(shape: str, tokenizer: Any, tmp_path: Path) -> None:
    everywhere = {"target_modules": "all-linear"}
    plain = build(trl.SFTTrainer, shape, tmp_path, tokenizer, lora=everywhere)
    wanted = {kind: measure(plain, records(kind)) for kind in KINDS}
    for trick, (collator, places, is_thin) in TRICKS.items():
        flat = isinstance(collator, FlatCollator)
        ours = build(SupervisedTrainer, shape, tmp_path, tokenizer, lora=everywhere, flat=flat,
                     data_collator=collator, head_places=places)  # fmt: skip
        assert not is_thin or speed_up_adapters(ours.model) >= 8
        for kind in KINDS:
            worst = errors(measure(ours, records(kind)), wanted[kind])
            assert max(worst.values()) < LIMIT, (trick, kind, max(worst.items(), key=lambda item: item[1]))


def test_a_leak_would_be_seen(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken on purpose: every record also sees its neighbours."""
    everywhere = {"target_modules": "all-linear"}
    wanted = measure(build(trl.SFTTrainer, "llama", tmp_path, tokenizer, lora=everywhere), records("nothing shared"))
    ours = build(SupervisedTrainer, "llama", tmp_path, tokenizer, lora=everywhere, flat=True,
                 data_collator=FlatCollator(share=False))  # fmt: skip
    whole = tree_attention._parts
    monkeypatch.setattr(
        tree_attention, "_parts",
        lambda table, *rest: whole([(start, end, table[-1][1], first) for start, end, _, first in table], *rest),
    )  # fmt: skip
    assert max(errors(measure(ours, records("nothing shared")), wanted).values()) > 100 * LIMIT


HEADS = {
    "adapter on the head": {"target_modules": ["q_proj", "lm_head"]},
    "adapter on a tied head and the embedding": {"target_modules": ["q_proj", "lm_head", "embed_tokens"]},
    "trained copy of the head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "trained copy of the embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", ["llama", "qwen", "gemma2"])  # tied; its own; soft-capped logits
def test_a_trained_head_is_trained_alike(shape: str, head: str, tokenizer: Any, tmp_path: Path) -> None:
    """TRL takes no adapter on the head: transformers' own loss over all logits is the reference."""
    rows = records("one beginning")
    ours = build(SupervisedTrainer, shape, tmp_path, tokenizer, lora=HEADS[head], flat=True,
                 data_collator=FlatCollator(), head_places=4)  # fmt: skip
    got = measure(ours, rows)
    assert any("lm_head" in name or "embed" in name for name in got[1])
    model = ours.model
    model.get_base_model().set_attn_implementation("eager")
    batch = SupervisedCollator(2)(rows)
    model.zero_grad()
    given = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids", "labels")}
    loss = model(**given, use_cache=False).loss
    loss.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert got[0] == pytest.approx(loss.item(), rel=LIMIT)
    assert got[1].keys() == wanted.keys()
    for name, grad in wanted.items():
        assert float((got[1][name] - grad).norm()) < LIMIT * float(grad.norm()) + 1e-7, name


def test_label_smoothing_is_the_same(tokenizer: Any, tmp_path: Path) -> None:
    everywhere = {"target_modules": "all-linear"}
    plain = build(trl.SFTTrainer, "llama", tmp_path, tokenizer, lora=everywhere, smoothing=0.1)
    ours = build(SupervisedTrainer, "llama", tmp_path, tokenizer, lora=everywhere, smoothing=0.1, flat=True,
                 data_collator=FlatCollator(), head_places=3)  # fmt: skip
    for kind in ("one beginning", "all tokens supervised"):
        assert max(errors(measure(ours, records(kind)), measure(plain, records(kind))).values()) < LIMIT


def test_load_balancing_is_the_same(tokenizer: Any, tmp_path: Path) -> None:
    """Padded batches: the balance counts each record's tokens."""
    given = {"lora": {"target_modules": "all-linear"}, "router": 0.5}
    plain = build(trl.SFTTrainer, "gpt_oss", tmp_path, tokenizer, **given)
    ours = build(SupervisedTrainer, "gpt_oss", tmp_path, tokenizer, data_collator=SupervisedCollator(2, 8), **given)
    got, wanted = (measure(trainer, records("one beginning")) for trainer in (ours, plain))
    assert max(errors(got, wanted).values()) < LIMIT
    without = measure(build(SupervisedTrainer, "gpt_oss", tmp_path, tokenizer, lora=given["lora"],
                            data_collator=SupervisedCollator(2, 8)), records("one beginning"))  # fmt: skip
    assert got[0] > without[0] + 0.1
