"""From a file of chat records to packed, masked token rows: TRL's own preparation against ours, cold and warm.

python -m benchmarks.preparation [--records 100000] [--rounds 3] [--write]

Each measurement is a process of its own, peers in turn. Both sides get the same file, tokenizer (SmolLM2), template,
number of processes and row length; they must end with the same tokens and the same mask, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import publish

MODEL = "bundled:smollm2-135m-instruct"
CAPACITY, PROCESSES = 2048, 2
# The ChatML of SmolLM2 without the line break behind the last turn, on which TRL would train and we would not.
TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %}\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}"
)
_SYLLABLES = ["ka", "ro", "min", "tel", "su", "bra", "ne", "lor", "vi", "dan", "pe", "shu", "gri", "o", "an", "est"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--side", choices=_SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(_SIDES[arguments.side](arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="sft-preparation-") as name:
        return _compare(arguments, Path(name))


def _compare(arguments: argparse.Namespace, folder: Path) -> int:
    write_chats(folder / "chats.jsonl", arguments.records)
    measured: dict[str, list[dict[str, Any]]] = {"trl": [], "sftlib": []}
    for _ in range(arguments.rounds):
        for side, runs in measured.items():
            shutil.rmtree(folder / "cache", ignore_errors=True)
            runs.append({"cold": measure(side, folder), "warm": measure(side, folder)})
    _check_equal(measured, folder)
    rows = [row for side, runs in measured.items() for row in _rows(side, runs)]
    ratio, cpu_ratio = (
        _seconds(measured["trl"], "cold", clock) / _seconds(measured["sftlib"], "cold", clock)
        for clock in ("seconds", "cpu_s")
    )
    publish(
        "preparation", f"Preparing {arguments.records:,} chat records: tokenise, mask, pack", rows,
        notes=_notes(arguments, ratio, cpu_ratio), write=arguments.write,
        cold_ratio=round(ratio, 2), cpu_ratio=round(cpu_ratio, 2),
    )  # fmt: skip
    return 0


def measure(side: str, folder: Path, suite: str = "preparation") -> dict[str, Any]:
    """One measurement in a fresh process; its peak memory is of the process and its children together."""
    environment = {**os.environ, "HF_HOME": str(folder / "cache" / "hf"), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1",
                   "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    command = [sys.executable, "-m", f"benchmarks.{suite}", "--side", side, "--folder", str(folder)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    watch = Memory(child.pid)
    output, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{side} failed with exit code {child.returncode}")
    return {**json.loads(output.splitlines()[-1]), "peak_mb": watch.stop()}


def _rows(side: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tokens = runs[0]["cold"]["tokens"]
    return [
        {
            "who": side, "start": start, "seconds": _seconds(runs, start),
            "cpu_s": _seconds(runs, start, "cpu_s"), "tokens_per_s": round(tokens / _seconds(runs, start)),
            "peak_mb": max(run[start]["peak_mb"] for run in runs), "tokens": tokens,
            "supervised": runs[0]["cold"]["supervised"], "packed_rows": runs[0]["cold"]["packed_rows"],
        }
        for start in ("cold", "warm")
    ]  # fmt: skip


def _seconds(runs: list[dict[str, Any]], start: str, clock: str = "seconds") -> float:
    return round(statistics.median(run[start][clock] for run in runs), 3)


def _check_equal(measured: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """The same tokens and the same mask: as totals over all records, and token by token over the first thousand."""
    counts = {
        side: {name: runs[0]["cold"][name] for name in ("tokens", "supervised")} for side, runs in measured.items()
    }
    if counts["trl"] != counts["sftlib"]:
        raise SystemExit(f"not the same work: {counts}")
    first = {side: measure(f"{side}-first", folder)["rows"] for side in measured}
    if first["trl"] != first["sftlib"]:
        raise SystemExit("not the same work: the first thousand rows differ")


def _notes(arguments: argparse.Namespace, ratio: float, cpu_ratio: float) -> list[str]:
    runs = "one process each, in turn" if arguments.rounds == 1 else f"medians of {arguments.rounds} runs, in turn"
    return [
        f"cold: {ratio:.2f} x TRL's tokens/s, {cpu_ratio:.2f} x its tokens per CPU second; {runs}; {PROCESSES} dataset processes on both sides; rows of {CAPACITY} tokens",
        "TRL: `SFTTrainer._prepare_dataset` with packing_strategy bfd, dataset_num_proc 2; reading the file is not counted",
        "sftlib: `SFTDatasetProcessor.rows` and `plan_rows`; reading and hashing the file is counted",
        "the first thousand rows of both were compared token by token and label by label before anything was written",
    ]  # fmt: skip


class Memory:
    """Peak of the proportional set size of a process and its descendants, by looking ten times a second."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak_kb, self._is_over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(0.1):
            self.peak_kb = max(self.peak_kb, sum(_pss_kb(pid) for pid in _family(self.pid)))

    def stop(self) -> int:
        self._is_over.set()
        self._thread.join()
        return round(self.peak_kb / 1024)


def _family(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def write_chats(path: Path, count: int, seed: int = 0, shorter: float = 0.0) -> None:
    """Chats of system, user and assistant in invented words; lengths spread as people's are, e^shorter times shorter."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(20_000)]
    words += ["the", "and", "of", "is", "to", "what", "how", "why", "it", "with"] * 1500

    def text(mean: float) -> str:
        length = max(3, min(400, round(draw.lognormvariate(mean, 0.6))))
        return " ".join(draw.choices(words, k=length)).capitalize() + "."

    with path.open("w", encoding="utf-8") as stream:
        for _ in range(count):
            system = {"role": "system", "content": "You are a helpful assistant who answers in short."}
            asked = {"role": "user", "content": text(3.2 - shorter)}
            stream.write(
                json.dumps({"messages": [system, asked, {"role": "assistant", "content": text(3.4 - shorter)}]}) + "\n"
            )


def _sftlib(folder: Path) -> dict[str, Any]:
    from sftlib.data.packing import plan_rows

    processor = processor_of(folder)
    started = _clocks()
    rows = processor.rows("train")
    plan = plan_rows(rows.lengths, CAPACITY)
    return {**_since(started), "tokens": rows.tokens, "supervised": rows.supervised_tokens, "packed_rows": len(plan)}


def _sftlib_first(folder: Path) -> dict[str, Any]:
    rows = processor_of(folder).rows("train")
    return {"rows": [[row["input_ids"], row["labels"]] for row in map(rows.__getitem__, range(1000))]}


def processor_of(folder: Path) -> Any:
    from sftlib.config.references import bundled_model
    from sftlib.config.tree import SFTConfig
    from sftlib.data.processing import SFTDatasetProcessor
    from sftlib.models.loading import load_tokenizer

    tokenizer = str(bundled_model(MODEL.removeprefix("bundled:")))
    (folder / "template.jinja").write_text(TEMPLATE, encoding="utf-8")
    config = SFTConfig.model_validate({
        "data": {"train": str(folder / "chats.jsonl"), "format": "messages", "streaming": True, "workers": PROCESSES},
        "prompt": {"template_file": str(folder / "template.jinja")},
        "model": {"name_or_path": tokenizer},
        "train": {"max_length": CAPACITY},
    })  # fmt: skip
    os.environ["SFTLIB_CACHE"] = str(folder / "cache" / "sftlib")
    return SFTDatasetProcessor(config, load_tokenizer(config))


def _trl(folder: Path) -> dict[str, Any]:
    prepare, dataset = _trl_preparation(folder)
    started = _clocks()
    packed = prepare(dataset, True)
    took = _since(started)
    table = packed.data.table
    import pyarrow.compute as pc

    labels = table.column("labels").combine_chunks().flatten()
    supervised = pc.sum(pc.not_equal(labels, -100)).as_py()
    return {**took, "tokens": len(labels), "supervised": supervised, "packed_rows": len(packed)}


def _clocks() -> tuple[float, float]:
    """Wall clock, and CPU seconds of this process and its children that have ended."""
    return time.perf_counter(), sum(os.times()[:4])


def _since(started: tuple[float, float]) -> dict[str, float]:
    seconds, cpu_s = (now - then for now, then in zip(_clocks(), started, strict=True))
    return {"seconds": seconds, "cpu_s": cpu_s}


def _trl_first(folder: Path) -> dict[str, Any]:
    prepare, dataset = _trl_preparation(folder)
    rows = prepare(dataset.select(range(1000)), False)
    return {"rows": [[row["input_ids"], row["labels"]] for row in rows]}


def _trl_preparation(folder: Path) -> tuple[Callable[[Any, bool], Any], Any]:
    """TRL's own preparation, of a trainer that holds the smallest possible model; and the records as TRL wants them."""
    from datasets import Dataset, load_dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    from sftlib.config.references import bundled_model

    tokenizer = AutoTokenizer.from_pretrained(bundled_model(MODEL.removeprefix("bundled:")))
    tokenizer.chat_template = TEMPLATE
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape))
    arguments = SFTConfig(
        output_dir=str(folder / "trl"), packing=True, packing_strategy="bfd", max_length=CAPACITY, use_cpu=True, bf16=False,
        dataset_num_proc=PROCESSES, report_to=[], completion_only_loss=True,
    )  # fmt: skip
    chats = load_dataset("json", data_files=str(folder / "chats.jsonl"), split="train")
    parted = _prompt_and_completion(chats, folder)
    trainer = SFTTrainer(model, arguments, train_dataset=parted.select(range(4)), processing_class=tokenizer)
    trainer.chat_template = TEMPLATE
    assert isinstance(parted, Dataset)
    return lambda data, packing: trainer._prepare_dataset(data, tokenizer, arguments, packing, None, "train"), parted


def _prompt_and_completion(chats: Any, folder: Path) -> Any:
    """The form in which TRL masks the prompt without a template that marks what is generated. Not counted."""
    return chats.map(
        lambda chat: {"prompt": chat["messages"][:-1], "completion": chat["messages"][-1:]},
        remove_columns=["messages"], num_proc=PROCESSES,
    )  # fmt: skip


_SIDES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "trl": _trl, "sftlib": _sftlib, "trl-first": _trl_first, "sftlib-first": _sftlib_first,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
