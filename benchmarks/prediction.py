"""Records a second of labels by `score`, against generating the answer and against lm-evaluation-harness, on one model.

python -m benchmarks.prediction [--records 500] [--lm-eval PYTHON] [--dtype float32] [--write]

PYTHON is an interpreter that has lm_eval; without it that peer is left out. Every method reads the same prompts with the
same model and number type; the methods take turns, slice by slice, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.harness import publish
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import Prompt, Renderer
from sftlib.data.samples import Sample, target_text
from sftlib.infer.batches import left_padded
from sftlib.infer.scoring import LabelScorer
from sftlib.models.hardware import DTYPES
from sftlib.models.loading import load_base, load_tokenizer, model_source
from sftlib.models.products import has_slow_blas

EXAMPLES, NEW_TOKENS, PEER_BATCH = 4, 24, 8
POSTS = Path(__file__).parents[1] / "sftlib/data/posts"
STRATEGY = """You label posts for a moderation team. Read the whole post before you decide, and judge what it says about people,
not how it is worded. A post is hate when it attacks, demeans, threatens or excludes people for who they are: for their
origin, religion, sexual orientation or gender. Slurs used to demean are hate. Calls to exclude or harm are hate.
A post is normal when it is neutral or friendly, when it criticises ideas, institutions or acts of single persons, when it
reports hate in order to object to it, or when the people concerned use a word for themselves. Answer with {"classification": "hate"} or {"classification": "normal"}."""


def main() -> int:
    arguments = _arguments()
    torch.set_num_threads(1)
    config = SFTConfig.model_validate({
        "task": {"type": "classification", "labels": ["hate", "normal"], "positive": "hate", "target": "json"},
        "predict": {"method": "score"},
    })  # fmt: skip
    dtype = DTYPES[arguments.dtype]
    tokenizer, model = load_tokenizer(config), load_base(config, dtype).eval()
    plain = AutoModelForCausalLM.from_pretrained(model_source(config), dtype=dtype).eval()
    renderer = Renderer(config, tokenizer)
    prompts = _prompts(renderer, arguments.records)
    scorer, blas = LabelScorer(model, renderer, config), LabelScorer(plain, renderer, config)
    peers: dict[str, Callable[[Sequence[Prompt]], list[Any]]] = {
        "score": lambda part: scorer.answer(part, lambda count: None),
        "score, plain products": lambda part: blas.answer(part, lambda count: None),
        "generate, unsorted": lambda part: _generate(plain, renderer, part, is_sorted=False),
        "generate, sorted": lambda part: _generate(plain, renderer, part, is_sorted=True),
    }
    seconds, answers = _take_turns(peers, prompts, arguments.slices)
    prepared = -time.perf_counter()
    LabelScorer(model, renderer, config).prepare(prompts[:32])
    prepared += time.perf_counter()
    scores = [answer.label_logprobs for answer in answers["score"]]
    if arguments.lm_eval:
        seconds["lm-evaluation-harness"], answers["lm-evaluation-harness"] = _lm_eval(
            arguments, config, renderer, prompts
        )
    noise = _noise(plain, scorer, prompts[:: max(1, len(prompts) // 20)])
    rows = _rows(seconds, answers, [answer.prediction for answer in answers["score"]], len(prompts), scores)
    products = "oneDNN" if has_slow_blas() and dtype is torch.float32 else "PyTorch's BLAS"
    notes = [
        f"{len(prompts)} bundled posts behind a policy and {EXAMPLES} answered examples, a common beginning of {_shared(prompts)} tokens, "
        f"{sum(len(p.ids) for p in prompts) / len(prompts):.0f} tokens a prompt; {arguments.dtype}, one thread.",
        f"Generated answers: at most {NEW_TOKENS} tokens, batches of {PEER_BATCH}, padded on the left, greedy, end of turn honoured.",
        f"score: includes nothing of its start; trying out the fast way took {prepared:.2f} s more, once a loaded model.",
        f"Noise: label log-likelihoods are at most {noise:.1e} off an unbatched, uncached forward pass (20 records).",
        f"score takes its products by {products} (model.cpu_products: auto); plain products: the model as transformers loads it.",
        f"The untrained model's answers: {dict(Counter(answer.prediction for answer in answers['score']))}.",
        "agreement: share of records with the same label as score; unparsed answers agree with nothing.",
    ]
    publish("prediction", f"Labels of {len(prompts)} posts: scored, generated, and by a peer", rows, notes=notes, write=arguments.write,
            prefix_tokens=_shared(prompts), noise=noise, prepare_s=prepared)  # fmt: skip
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--slices", type=int, default=5, help="turns that the methods take")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--lm-eval", metavar="PYTHON", help="an interpreter that has lm_eval")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results")
    return parser.parse_args()


def _prompts(renderer: Renderer, count: int) -> list[Prompt]:
    """Prompts of one strategy: a policy and answered examples, some 300 tokens, then a post as it comes."""
    posts = [json.loads(line) for name in ("test", "validation", "train")
             for line in (POSTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]  # fmt: skip
    posts, examples = posts[:count], posts[-EXAMPLES:]
    opening = [{"role": "system", "content": STRATEGY}]
    for post in examples:
        opening += [{"role": "user", "content": post["text"]},
                    {"role": "assistant", "content": target_text(post["label_binary"], renderer.config)}]  # fmt: skip
    return [
        renderer.prompt(Sample(str(i), [*opening, {"role": "user", "content": post["text"]}], None))
        for i, post in enumerate(posts)
    ]


def _shared(prompts: Sequence[Prompt]) -> int:
    from sftlib.infer.prefixes import common_prefix

    return len(common_prefix([prompt.ids for prompt in prompts]))


def _take_turns(
    peers: dict[str, Callable[[Sequence[Prompt]], list[Any]]], prompts: Sequence[Prompt], slices: int
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Seconds of each slice, and the answers of the whole; one small slice before, for what is done once."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    answers: dict[str, list[Any]] = {name: [] for name in peers}
    for work in peers.values():
        work(prompts[:2])
    size = -(-len(prompts) // slices)
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        for name, work in peers.items():
            began = time.perf_counter()
            answers[name] += work(part)
            seconds[name].append(time.perf_counter() - began)
            print(f"{name}: {len(part)} records in {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return seconds, answers


def _generate(model: Any, renderer: Renderer, prompts: Sequence[Prompt], *, is_sorted: bool) -> list[str | None]:
    """transformers' own generate, as most evaluation scripts call it."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].ids)) if is_sorted else list(range(len(prompts)))
    texts: dict[int, str] = {}
    tokenizer = renderer.tokenizer
    for start in range(0, len(order), PEER_BATCH):
        batch = order[start : start + PEER_BATCH]
        ids, mask = left_padded([prompts[i].ids for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), max_new_tokens=NEW_TOKENS, do_sample=False,
                pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
        for i, row in zip(batch, out[:, len(ids[0]) :].tolist(), strict=True):
            texts[i] = tokenizer.decode(row, skip_special_tokens=True)
    return [parse_label(texts[i], renderer.config.task)[0] for i in range(len(prompts))]


_PEER = """
import json, sys, time
import torch
torch.set_num_threads(1)
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
job = json.load(open(sys.argv[1]))
lm = HFLM(pretrained=job["model"], dtype=job["dtype"], device="cpu", batch_size=8, max_length=2048)
def requests(rows):
    return [Instance("loglikelihood", {}, (text, label), i) for i, text in enumerate(rows) for label in job["labels"]]
lm.loglikelihood(requests(job["prompts"][:2]), disable_tqdm=True)
began = time.perf_counter()
found = lm.loglikelihood(requests(job["prompts"]), disable_tqdm=True)
print(json.dumps({"seconds": time.perf_counter() - began, "scores": [value for value, _ in found]}))
"""


def _lm_eval(
    arguments: argparse.Namespace, config: SFTConfig, renderer: Renderer, prompts: Sequence[Prompt]
) -> tuple[list[float], list[list[float]]]:
    """The same label strings behind the same prompts, by the harness's own HFLM in its own process."""
    labels = [
        renderer.tokenizer.decode(renderer.answer_ids(target_text(label, config))) for label in config.task.labels
    ]
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        job.write_text(json.dumps({
            "model": model_source(config), "dtype": arguments.dtype, "labels": labels, "prompts": [p.text for p in prompts],
        }))  # fmt: skip
        command = [arguments.lm_eval, "-c", _PEER, str(job)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"lm_eval failed:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    width = len(labels)
    return [said["seconds"]], [said["scores"][i : i + width] for i in range(0, len(said["scores"]), width)]


def _rows(
    seconds: dict[str, list[float]], answers: dict[str, list[Any]], ours: list[str | None], count: int,
    scores: list[list[float]],
) -> list[dict[str, Any]]:  # fmt: skip
    rows = []
    fastest = count / sum(seconds["score"])
    for name, spent in seconds.items():
        labels = answers[name]
        off = None
        if name.startswith("score"):
            labels = [answer.prediction for answer in answers[name]]
        if name == "lm-evaluation-harness":
            off = max(abs(a - b) for x, y in zip(scores, answers[name], strict=True) for a, b in zip(x, y, strict=True))
            labels = [("hate", "normal")[values[1] > values[0]] for values in answers[name]]
        rate = count / sum(spent)
        rows.append({
            "method": name, "records_per_s": round(rate, 2), "score_is_faster_by": round(fastest / rate, 1),
            "agreement": round(sum(a == b for a, b in zip(labels, ours, strict=True)) / count, 3),
            "unparsed": sum(label is None for label in labels), "largest_score_difference": off,
        })  # fmt: skip
    return rows


def _noise(model: Any, scorer: LabelScorer, prompts: Sequence[Prompt]) -> float:
    worst = 0.0
    with torch.inference_mode():
        for prompt, answer in zip(prompts, scorer.answer(prompts, lambda count: None), strict=True):
            for label, found in zip(scorer.label_ids, answer.label_logprobs or [], strict=True):
                logits = (
                    model(torch.tensor([prompt.ids + label[:-1]]), use_cache=False).logits[0].float().log_softmax(-1)
                )
                plain = sum(logits[len(prompt.ids) - 1 + at, token].item() for at, token in enumerate(label))
                worst = max(worst, abs(plain - found))
    return worst


if __name__ == "__main__":
    sys.exit(main())
