"""Training speed on one GPU beside TRL+PEFT, TRL+Liger and Unsloth: tokens/s, MFU at 4N, peak memory.

python -m benchmarks.gpu [--model llama-8b|gpt-oss-20b] [--method lora|nf4] [--workload packed|posts] [--write]
python -m benchmarks.gpu --tiny        the same with a tiny model, on a CPU if need be: does the program run?

Weights are random, records synthetic. Each peer runs in a process of its own, on the same records, adapter (r=16,
all-linear) and precision; the first steps warm up and do not count. `packed`: chat records in rows of 4,096 tokens.
`posts`: 2,686 posts of about 60 tokens behind a prompt of 400; the result is also given in GPU-hours for 3 epochs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import publish
from sftlib.config.estimate.devices import device_named
from sftlib.data.rendering import IGNORED

SHAPES: dict[str, dict[str, Any]] = {
    "llama-8b": {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336,
                 "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 500_000.0,
                 "max_position_embeddings": 8192},
    "gpt-oss-20b": {"model_type": "gpt_oss"},  # transformers' defaults are its shape
    "tiny": {"model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128,
             "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192},
}  # fmt: skip
ACTIVE = {"gpt-oss-20b": 3.6e9}  # parameters that a token passes through; of the others all
POSTS, EPOCHS = 2_686, 3
ALL = (["--method", "lora"], ["--method", "nf4"], ["--model", "gpt-oss-20b", "--workload", "posts"])


@dataclass(frozen=True)
class Peer:
    """A way to train, and what it needs."""

    name: str
    needs: tuple[str, ...] = ()
    needs_gpu: bool = False

    def missing(self, *, has_gpu: bool) -> str | None:
        if self.needs_gpu and not has_gpu:
            return "needs a GPU"
        absent = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f"{', '.join(absent)} not installed" if absent else None


PEERS = {
    "sftlib": Peer("sftlib"),
    "trl": Peer("TRL + PEFT"),
    "trl-liger": Peer("TRL + PEFT + Liger", ("liger_kernel",), needs_gpu=True),
    "unsloth": Peer("Unsloth", ("unsloth",), needs_gpu=True),
}


def make_records(vocabulary: int, workload: str, count: int, longest: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Synthetic records: conversations of log-normal length with the last third supervised, or posts behind one prompt."""
    draw = random.Random(seed)

    def some(length: int) -> list[int]:
        return [draw.randrange(10, vocabulary) for _ in range(length)]

    begin = some(min(400, longest // 2)) if workload == "posts" else []
    records = []
    for _ in range(count):
        own = (
            draw.randint(50, 70) if workload == "posts" else max(16, min(longest, int(draw.lognormvariate(6.08, 0.8))))
        )
        ids = begin + some(own)
        answer = 6 if workload == "posts" else own // 3
        records.append({"input_ids": ids, "labels": [IGNORED] * (len(ids) - answer) + ids[-answer:]})
    return records


def build_model(shape: str, method: str) -> Any:
    """Random weights on the device: bf16 on a GPU, fp32 on a CPU, nf4 by bitsandbytes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    words = dict(SHAPES[shape])
    config = AutoConfig.for_model(words.pop("model_type"), **words, pad_token_id=0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with device:
        model = AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32
        )
    if method == "nf4":
        _quantise(model)
        model.is_loaded_in_4bit = True
    return model


def _quantise(model: Any) -> None:
    """Every linear layer but the head in 4 bits with double quantisation, in place."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    from sftlib.models.cpu_engines import keep_differentiable, prepare_4bit

    prepare_4bit()

    for name, module in list(model.named_modules()):
        if type(module) is not torch.nn.Linear or name.endswith("lm_head"):
            continue
        new = Linear4bit(module.in_features, module.out_features, bias=module.bias is not None, quant_type="nf4",
                         compute_dtype=module.weight.dtype, compress_statistics=True, device="meta")  # fmt: skip
        new.weight = Params4bit(module.weight.data.cpu(), requires_grad=False, quant_type="nf4").to(
            module.weight.device
        )
        new.bias = module.bias
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new)
    keep_differentiable(model)


def measure(peer: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train with one peer in this process; its figures."""
    if peer == "unsloth":
        import unsloth  # noqa: F401 # rewrites what is imported after it
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import TrainerCallback

    model = build_model(arguments.model, arguments.method)
    parameters = model.num_parameters()
    records = make_records(model.config.vocab_size, arguments.workload, arguments.records, arguments.row_tokens)
    build = {"sftlib": _ours, "unsloth": _unsloth}.get(peer, _trl)
    clock = _clock(TrainerCallback, arguments.warmups)
    lora = LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", lora_dropout=0.0)
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {
            "output_dir": folder, "max_steps": arguments.warmups + arguments.steps, "learning_rate": 1e-4, "report_to": [],
            "gradient_accumulation_steps": 1, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
            "bf16": torch.cuda.is_available(), "use_cpu": not torch.cuda.is_available(), "router_aux_loss_coef": 0.0,
            "gradient_checkpointing": arguments.checkpointing, "use_liger_kernel": peer == "trl-liger",
            "optim": "adamw_torch_fused" if torch.cuda.is_available() else "adamw_torch",
        }  # fmt: skip
        trainer, per_step = build(
            arguments, records, common, trl, Dataset, model, lambda base: get_peft_model(base, lora), clock
        )
        trainer.train()
    seconds = clock.ends[-1] - clock.ends[arguments.warmups - 1]
    rate = per_step(clock) / seconds
    return _figures(peer, arguments, rate, parameters, records, clock.losses)


def _figures(
    peer: str, arguments: Any, rate: float, parameters: int, records: list[Any], losses: list[float]
) -> dict[str, Any]:
    import torch

    on_gpu = torch.cuda.is_available()
    device = device_named(torch.cuda.get_device_name()) if on_gpu else None
    active = ACTIVE.get(arguments.model, parameters)
    mean = sum(len(record["input_ids"]) for record in records) / len(records)
    return {
        "peer": PEERS[peer].name, "tokens_per_s": rate, "records_per_s": rate / mean,
        "MFU_at_4N": 4 * active * rate / device.peak_flops if device else None,
        "peak_memory_GB": torch.cuda.max_memory_allocated() / 1e9 if on_gpu else None,
        "GPU_hours_of_the_posts": EPOCHS * POSTS * mean / rate / 3600 if arguments.workload == "posts" else None,
        "last_loss": losses[-1] if losses else None,
    }  # fmt: skip


def _clock(base: type, warmups: int) -> Any:
    class Clock(base):  # type: ignore[misc, valid-type]
        """Ends of steps with the device idle, tokens of each batch in order."""

        def __init__(self) -> None:
            self.ends: list[float] = []
            self.tokens: list[int] = []
            self.losses: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            import torch

            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

        def counted(self) -> int:
            return sum(self.tokens[warmups : len(self.ends)])

    return Clock()


def _ours(arguments, records, common, trl, Dataset, model, with_adapter, clock):  # type: ignore[no-untyped-def]
    from sftlib.config.tree import SFTConfig
    from sftlib.data.rendering import TrainingRow
    from sftlib.data.rows import Rows
    from sftlib.train.batches import dataset_of, plan_batches
    from sftlib.train.kernels import apply_adapter_kernel, apply_layer_kernels, choose_loss_kernel
    from sftlib.train.loss import SupervisedTrainer

    posts = arguments.workload == "posts"
    train = {"batch_size": arguments.batch if posts else 1, "gradient_accumulation": 1, "max_length": arguments.row_tokens,
             "packing": not posts}  # fmt: skip
    config = SFTConfig.model_validate({"train": train})
    rows = Rows.of([TrainingRow(record["input_ids"], record["labels"]) for record in records])
    print(apply_layer_kernels(config, model), file=sys.stderr)
    plan = plan_batches(config, rows, model)
    print(plan.sentence, file=sys.stderr)
    settings = trl.SFTConfig(**common, per_device_train_batch_size=plan.batch_size, max_length=None,
                             dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False)  # fmt: skip
    collate = plan.collator(0, 8)
    trainer = SupervisedTrainer(
        model=with_adapter(model), args=settings, train_dataset=dataset_of(rows, plan.rows), callbacks=[clock],
        data_collator=_counting(collate, clock, lambda batch: int(batch["record_tokens"])), processing_class=_tokenizer(),
        loss_kernel=choose_loss_kernel(config),
    )  # fmt: skip
    print(apply_adapter_kernel(config, trainer.model), file=sys.stderr)
    return trainer, lambda clock: clock.counted()


def _trl(arguments, records, common, trl, Dataset, model, with_adapter, clock):  # type: ignore[no-untyped-def]
    """TRL with packing by best fit, on FlashAttention where it is installed."""
    if importlib.util.find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
    settings = trl.SFTConfig(**common, per_device_train_batch_size=1, packing=True, max_length=arguments.row_tokens)
    trainer = trl.SFTTrainer(model=with_adapter(model), args=settings, train_dataset=Dataset.from_list(records),
                             processing_class=_tokenizer(), callbacks=[clock])  # fmt: skip
    trainer.data_collator = _counting(trainer.data_collator, clock, lambda batch: batch["input_ids"].numel())
    return trainer, lambda clock: clock.counted()


def _unsloth(arguments, records, common, trl, Dataset, model, with_adapter, clock):  # type: ignore[no-untyped-def]
    """Unsloth takes a folder: the random weights are saved for it."""
    from unsloth import FastLanguageModel

    folder = tempfile.mkdtemp(prefix="unsloth-peer-")
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    base, _ = FastLanguageModel.from_pretrained(folder, max_seq_length=arguments.row_tokens,
                                                load_in_4bit=arguments.method == "nf4")  # fmt: skip
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = FastLanguageModel.get_peft_model(base, r=16, lora_alpha=16, lora_dropout=0.0, target_modules=names)
    return _trl(arguments, records, common, trl, Dataset, adapted, lambda ready: ready, clock)


def _counting(collate: Any, clock: Any, tokens: Callable[[dict[str, Any]], int]) -> Any:
    def counted(items: Any) -> Any:
        batch = collate(items)
        clock.tokens.append(tokens(batch))
        return batch

    return counted


def _tokenizer() -> Any:
    """Rows come as ids; the trainers want a tokenizer for their padding token only."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<pad>", unk_token="<unk>")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(SHAPES), default="llama-8b")
    parser.add_argument("--method", choices=["lora", "nf4"], default="lora")
    parser.add_argument("--workload", choices=["packed", "posts"], default="packed")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--row-tokens", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=64, help="records of a batch of posts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmups", type=int, default=5)
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations, in every peer")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few steps: does the program run?")
    parser.add_argument("--write", action="store_true", help="write the results")
    parser.add_argument(
        "--all", action="store_true", help="the three of the manual: LoRA, nf4, and gpt-oss-20b on posts"
    )
    parser.add_argument("--one", choices=list(PEERS), help=argparse.SUPPRESS)  # this process is one peer
    arguments = parser.parse_args(words)
    if arguments.tiny:
        arguments.model, arguments.row_tokens, arguments.records = "tiny", 256, 60
        arguments.steps, arguments.warmups, arguments.batch = 2, 1, 8
    return arguments


def table(arguments: argparse.Namespace, words: Sequence[str], *, has_gpu: bool) -> list[dict[str, Any]]:
    """A row for each peer: figures, or why there are none."""
    rows = []
    for peer in arguments.peers:
        missing = PEERS[peer].missing(has_gpu=has_gpu)
        rows.append({"peer": PEERS[peer].name, "note": missing} if missing else _in_its_own_process(peer, words))
    return rows


def _in_its_own_process(peer: str, words: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu", *words, "--one", peer]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"peer": PEERS[peer].name, "note": f"failed with exit code {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def main(words: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else list(words)
    arguments = parse(words)
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments)))
        return 0
    import torch

    has_gpu = torch.cuda.is_available()
    if not has_gpu and not arguments.tiny:
        print("no GPU here: run it where one is, or with --tiny", file=sys.stderr)
        return 2
    if arguments.all:
        return max(main([*(word for word in words if word != "--all"), *more]) for more in ALL)
    rows = table(arguments, words, has_gpu=has_gpu)
    suite = f"gpu_{arguments.model}_{arguments.method}_{arguments.workload}"
    notes = ["tokens/s counts the records' own tokens, without padding; each peer in a process of its own"]
    publish(suite, f"Training on one GPU: {arguments.model}, {arguments.method}, {arguments.workload}", rows, notes=notes,
            write=arguments.write, module="gpu")  # fmt: skip
    return 1 if any("failed" in str(row.get("note")) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
