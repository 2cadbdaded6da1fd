"""The planner's arithmetic: published models' sizes, what sharding and quantisation change, what history tells."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sftlib.config.estimate.compute import Work, effort, flops, kind_of
from sftlib.config.estimate.devices import device_named
from sftlib.config.estimate.history import counted_tokens, measured_rate, read_trainings
from sftlib.config.estimate.lengths import Lengths, computed_share, estimate_lengths
from sftlib.config.estimate.memory import Load, numbers_of, training_memory
from sftlib.config.estimate.shape import shape_of
from sftlib.config.tree import SFTConfig

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
GPT_OSS_20B = {
    "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24, "head_dim": 64,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 201088, "num_local_experts": 32,
    "num_experts_per_tok": 4, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_06B = {
    "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "head_dim": 128,
    "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


LOAD = Load(4096, 400, 4096)


def config(**sections) -> SFTConfig:
    return SFTConfig.model_validate({"name": "x", **sections})


def memory(values: dict, load: Load = LOAD, **sections):
    chosen = config(**sections)
    shape = shape_of(values)
    return training_memory(chosen, shape, load, numbers_of(chosen, on_gpu=True), on_gpu=True)


@pytest.mark.parametrize(
    ("values", "billions"), [(LLAMA_8B, 8.030), (GPT_OSS_20B, 20.91), (QWEN3_06B, 0.596)]
)  # as published
def test_parameters_are_those_of_the_published_models(values: dict, billions: float) -> None:
    assert shape_of(values).parameters / 1e9 == pytest.approx(billions, rel=2e-3)


def test_targets_are_matched_as_peft_does() -> None:
    shape = shape_of(LLAMA_8B)
    # PEFT prints 41,943,040 trainable parameters for r=16 on all linear modules of this model, 6,815,744 on q and v.
    assert shape.adapter_size("all-linear", 16) == 41_943_040
    assert shape.adapter_size(["q_proj", "v_proj"], 16) == 6_815_744
    assert shape.adapter_size(r".*\.mlp\.down_proj", 16) == 32 * 16 * (14336 + 4096)


def test_an_unknown_architecture_has_no_shape() -> None:
    assert shape_of({"model_type": "gpt2", "n_embd": 768}) is None
    assert shape_of({"text_config": LLAMA_8B}) == shape_of(LLAMA_8B)


def test_quantisation_and_sharding_take_from_the_weights() -> None:
    lora = {"r": 16, "target_modules": "all-linear"}
    plain = memory(LLAMA_8B, lora=lora)
    nf4 = memory(LLAMA_8B, lora=lora, model={"quantization": {"kind": "nf4"}})
    assert plain.weights == pytest.approx(16.06, rel=0.01)
    assert 5.0 < nf4.weights < 6.0  # 7.0e9 weights of half a byte and their scales, 1.05e9 of two
    parallel = {"strategy": "fsdp", "gpus_per_node": 8}
    sharded = memory(LLAMA_8B, lora=lora, parallel=parallel)
    # An eighth of all, one layer gathered, embeddings and head gathered for the whole step.
    assert sharded.weights == pytest.approx(16.06 / 8 + 0.44 + 2.10, rel=0.01)
    assert sharded.optimiser == pytest.approx(plain.optimiser / 8)
    zero1 = memory(LLAMA_8B, lora=lora, parallel={**parallel, "strategy": "zero1"})
    assert zero1.weights == plain.weights and zero1.gradients == plain.gradients
    assert zero1.optimiser == pytest.approx(plain.optimiser / 8)


def test_checkpointing_and_batches_change_the_activations() -> None:
    lora = {"r": 16, "target_modules": "all-linear"}
    kept = memory(LLAMA_8B, lora=lora).activations
    recomputed = memory(LLAMA_8B, lora=lora, train={"gradient_checkpointing": True}).activations
    assert recomputed < kept / 10
    assert memory(LLAMA_8B, Load(8192, 400, 4096), lora=lora).activations == pytest.approx(2 * kept)


def test_a_moe_token_meets_its_own_experts_only() -> None:
    shape = shape_of(GPT_OSS_20B)
    work = Work(tokens=1e6, positions=0, mean_length=1)
    a_token = flops(config(lora={"r": 8}), shape, work) / 1e6
    assert a_token == pytest.approx(
        4 * 24 * shape.active_layer_size, rel=0.01
    )  # forward and the gradients of activations
    assert shape.active_layer_size < shape.layer_size / 4


@pytest.mark.parametrize("trained", [{"r": 8}, {"enabled": False}])
def test_attention_needs_three_times_its_forward_products_whatever_is_trained(trained: dict) -> None:
    shape, settings = shape_of(LLAMA_8B), config(lora=trained)
    short, long = (flops(settings, shape, Work(1.0, 0, length)) for length in (1000, 3000))
    forward = sum(2 * 2 * (at + 1) for at in range(2000)) / 2000  # scores and values, of each key up to its own
    assert long - short == pytest.approx(3 * 32 * 4096 * forward, rel=0.001)


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA A100-PCIE-40GB", "a100-40"), ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"), ("NVIDIA H200", "h200"), ("Tesla V100-SXM2-32GB", "v100-32"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"), ("AMD Instinct MI300X", "mi300x"), ("mi250x", "mi250x"),
        ("NVIDIA A10", "a10"), ("NVIDIA A40", "a40"),
    ],
)  # fmt: skip
def test_devices_are_known_by_what_their_tools_print(printed: str, name: str) -> None:
    assert device_named(printed).name == name


def test_an_unknown_device_is_none() -> None:
    assert device_named("NVIDIA T4") is None


def test_lengths_come_from_characters() -> None:
    class Record:
        fields = {"text": "x" * 400, "label": "hate"}  # noqa: RUF012

    chosen = config(prompt={"system": "s" * 200, "user": "Text: {text}"}, train={"max_length": 100})
    lengths = estimate_lengths(chosen, [Record()], "labelled")
    assert lengths.longest == 100  # 600 characters and more are cut at max_length
    assert estimate_lengths(chosen, [], "labelled") is None


def test_a_plain_template_costs_less_than_a_chat() -> None:
    class Record:
        fields = {"text": "x" * 400, "label": "hate"}  # noqa: RUF012

    means = {
        name: estimate_lengths(config(prompt={"template": name, "user": "{text}"}), [Record()], "labelled").mean
        for name in ("plain", "chatml", "alpaca", "harmony")
    }
    assert sorted(means, key=means.get) == ["plain", "chatml", "alpaca", "harmony"]


def test_thin_products_take_more_time_than_their_operations() -> None:
    shape, work = shape_of(LLAMA_8B), Work(1e6, 0, 1000)

    def taken(**lora) -> float:
        chosen = config(lora={"target_modules": "all-linear", **lora})
        return effort(chosen, shape, work, on_gpu=True) / flops(chosen, shape, work)

    def surplus(rank: int) -> float:
        chosen = config(lora={"target_modules": "all-linear", "r": rank})
        return (effort(chosen, shape, work, on_gpu=True) - flops(chosen, shape, work)) / rank

    assert surplus(4) > surplus(64) > surplus(256) > 0, "of a rank: the thinner, the longer it waits"
    assert 1 < taken(r=4, target_modules=["q_proj", "v_proj"]) < taken(r=4), "fewer matrices wait"
    assert taken(enabled=False) == 1


def test_many_small_passes_take_more_time_than_few_large_ones() -> None:
    shape, chosen = shape_of(LLAMA_8B), config(lora={"target_modules": "all-linear"})

    def taken(passes: float) -> float:
        work = Work(1e6, 0, 1000)
        cut = replace(work, passes=passes)
        return effort(chosen, shape, cut, on_gpu=True) / effort(chosen, shape, work, on_gpu=True)

    assert 1 < taken(250) < 1.02 < 1.1 < taken(4000), "4,000 tokens in a pass, and 250"
    assert flops(chosen, shape, Work(1e6, 0, 1000, 4000)) == flops(chosen, shape, Work(1e6, 0, 1000)), "no more is done"


def test_attention_on_a_cpu_takes_more_time_in_float32() -> None:
    shape = shape_of(LLAMA_8B)

    def surplus(length: float, *, dtype: str = "float32", on_gpu: bool = False) -> float:
        chosen, work = config(model={"dtype": dtype}), Work(1e6, 0, length)
        return effort(chosen, shape, work, on_gpu=on_gpu) - effort(chosen, shape, work, on_gpu=True)

    assert surplus(1000) == pytest.approx(10 * surplus(100)) and surplus(100) > 0
    assert surplus(1000, dtype="bfloat16") == surplus(1000, on_gpu=True) == 0


def test_tokens_are_those_that_a_training_on_the_same_records_counted(tmp_path: Path) -> None:
    def trained(name: str, tokens: int, **sections) -> None:
        folder = tmp_path / "run" / "cells" / name
        folder.mkdir(parents=True)
        sections = {"data": {"train": "a.jsonl"}, **sections}
        (folder / "config.json").write_text(json.dumps(config(**sections).to_dict()))
        (folder / "summary.json").write_text(json.dumps({"tokens": tokens, "records": 10}))
        os.utime(folder / "summary.json", ns=(len(made), len(made)))
        made.append(name)

    made: list[str] = []
    wanted = config(data={"train": "a.jsonl"}, lora={"r": 4}, prompt={"system": "short"})
    assert counted_tokens(read_trainings(tmp_path), wanted) is None
    trained("other-data", 1000, data={"train": "b.jsonl"})
    trained("other-tokenizer", 2000, model={"name_or_path": "another"})
    assert counted_tokens(read_trainings(tmp_path), wanted) is None
    trained("same-prompt", 300, prompt={"system": "short"})
    trained("long-prompt", 4000, prompt={"system": "long"})
    found = counted_tokens(read_trainings(tmp_path), wanted)
    assert found is not None and found.tokens == 30 and found.config.prompt.system == "short", "rather than the newest"
    found = counted_tokens(read_trainings(tmp_path), config(data={"train": "a.jsonl"}, prompt={"system": "third"}))
    assert found is not None and found.tokens == 400, "else the newest: characters to a token are like its own"


def test_history_is_read_from_summaries_of_the_same_kind(tmp_path: Path) -> None:
    kind = kind_of(config())
    for index, (rate, device) in enumerate([(100.0, "cpu-x"), (110.0, "cpu-x"), (120.0, "cpu-x"), (9.0, "other")]):
        folder = tmp_path / "run" / "cells" / f"c{index}"
        folder.mkdir(parents=True)
        performance = {
            "device": device,
            "kind": kind,
            "effort_per_s": rate,
            "warm_up_s": index,
            "warm_up_passes": 2 * index,
        }
        (folder / "summary.json").write_text(json.dumps({"performance": performance}))
    (tmp_path / "run" / "cells" / "c0" / "summary.json.tmp").write_text("{")
    (tmp_path / "latest").symlink_to("run")
    found = measured_rate(read_trainings(tmp_path), "cpu-x", kind)
    assert found is not None and (found.rate, found.count) == (110.0, 3) and 0 < found.spread < 0.2
    assert (found.warm_up_s, found.warm_up_passes) == (1, 2)
    assert measured_rate(read_trainings(tmp_path), "cpu-x", {**kind, "quantization": "nf4"}) is None
    assert measured_rate(read_trainings(tmp_path), "cpu-x", kind_of(config(model={"dtype": "bfloat16"}))) is None


def test_what_a_template_puts_around_is_counted_and_not_scaled() -> None:
    class Record:
        fields = {"text": "x" * 400, "label": "hate"}  # noqa: RUF012

    plain, chat = (
        estimate_lengths(config(prompt={"template": name, "user": "{text}"}), [Record()], "labelled")
        for name in ("plain", "chatml")
    )
    ratio = plain.ratio_to(plain.mean - (plain.mean - plain.around[0]) / 2)
    assert ratio == pytest.approx(0.5), "half as many tokens to a character"
    assert chat.scaled(ratio).mean - plain.scaled(ratio).mean == pytest.approx(chat.mean - plain.mean)
    assert chat.scaled(ratio).shared == chat.around[1], "of which nothing is characters"
    assert chat.scaled(1.0) == chat
    assert chat.ratio_to(chat.around[0]) is None


@pytest.mark.parametrize(
    ("shared", "sections", "share"),
    [
        (400, {}, 1 - 0.8 * 7 / 8),
        (20, {}, 1.0),  # a training would not take it for so little
        (20, {"train": {"shared_prefix": "on"}}, 1 - 0.04 * 7 / 8),
        (15, {"train": {"shared_prefix": "on"}}, 1.0),  # nor does it hold so few tokens once
        (400, {"train": {"shared_prefix": "off"}}, 1.0),
        (400, {"train": {"layout": "padded"}}, 1.0),
        (400, {"model": {"attention": "flash_attention_2"}}, 1.0),
    ],
)
def test_shared_beginnings_are_counted_once_where_a_training_does_so(shared: int, sections: dict, share: float) -> None:
    sections = {
        "model": {},
        **sections,
        "train": {"batch_size": 8, "gradient_accumulation": 1, **sections.get("train", {})},
    }
    assert computed_share(config(**sections), Lengths(500.0, 520, 2.0, shared)) == pytest.approx(share)
