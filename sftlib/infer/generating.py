"""Method `generate`: the model's own words, then the parser (classification) or the text as it is (open-ended)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sftlib.artifacts.progress import say
from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import Prompt, Renderer
from sftlib.infer.answers import FAILED, Answer
from sftlib.infer.batches import BATCH_TOKENS, left_padded, token_batches
from sftlib.infer.decoding import AnswerConstraint, NumberCheck, RecordSampling, valid_answers
from sftlib.infer.engines import Tick
from sftlib.infer.prefixes import Prefix, shared_prefix
from sftlib.infer.scoring import label_ids

_TOLERANCE = {torch.float32: 1e-2}  # of the first token's logits, with the prefix reused and without
_HALF_TOLERANCE = 1.0


class Generator:
    """Answers prompts by decoding."""

    def __init__(self, model: Any, renderer: Renderer, config: SFTConfig) -> None:
        self.model, self.config, self.tokenizer = model, config, renderer.tokenizer
        self._pad, self._stops = self.tokenizer.pad_token_id, renderer.stop_ids
        is_constrained = config.predict.constrain and config.task.type == "classification"
        self._answers = valid_answers(label_ids(renderer, config), renderer.end_id) if is_constrained else []
        self._prefix: Prefix | None = None

    @torch.inference_mode()
    def prepare(self, prompts: Sequence[Prompt]) -> None:
        """Settle on the beginning that is run once; a model that does not follow it runs whole prompts."""
        rows = sorted((prompt.ids for prompt in prompts), key=len)
        prefix = shared_prefix(rows, self.config) if _keeps_all(self.model) else Prefix([])
        self._prefix = prefix if prefix.ids and self._follows(prefix, [rows[0], rows[-1]]) else Prefix([])

    def _follows(self, prefix: Prefix, probes: list[list[int]]) -> bool:
        try:
            with_prefix, whole = self._first_logits(probes, prefix), self._first_logits(probes, Prefix([]))
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            say(f"generation: the prefix cannot be reused with this model ({type(error).__name__}: {str(error)[:160]})")
            return False
        off = (with_prefix - whole).abs().max().item()
        if not off <= _TOLERANCE.get(self.model.dtype, _HALF_TOLERANCE):
            say(f"generation: logits behind the reused prefix are {off:.2g} off: whole prompts are run")
            return False
        return True

    def _first_logits(self, rows: list[list[int]], prefix: Prefix) -> torch.Tensor:
        out = self._generate(rows, prefix, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
        return out.logits[0].float()

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompt], tick: Tick) -> list[Answer]:
        """One answer a prompt, in the order of the prompts."""
        if self._prefix is None:
            self.prepare(prompts)
        whole = Prefix([])
        answers: dict[int, Answer] = {}
        room = self.config.predict.max_new_tokens
        for prefix in (self._prefix or whole, whole):
            chosen = [i for i, p in enumerate(prompts) if i not in answers and prefix.begins(p.ids)]
            lengths = [len(prompts[i].ids) + room for i in chosen]
            for batch in token_batches(lengths, self.config.predict.batch_tokens or BATCH_TOKENS):
                positions = [chosen[i] for i in batch]
                found = self._batch([prompts[i] for i in positions], prefix)
                answers |= dict(zip(positions, found, strict=True))
                tick(len(batch))
        return [answers[i] for i in range(len(prompts))]

    def _batch(self, prompts: list[Prompt], prefix: Prefix) -> list[Answer]:
        check = NumberCheck()
        predict, rows = self.config.predict, [prompt.ids for prompt in prompts]
        width = max(map(len, rows))
        processors: list[Any] = [check, *([AnswerConstraint(self._answers, width)] if self._answers else [])]
        if predict.temperature:
            processors.append(RecordSampling(prompts, predict.seed, predict.temperature, predict.top_p))
        stopping = {"stop_strings": predict.stop, "tokenizer": self.tokenizer} if predict.stop else {}
        out = self._generate(
            rows, prefix, max_new_tokens=predict.max_new_tokens, logits_processor=processors, **stopping
        )
        has_failed = check.failed.tolist() if check.failed is not None else [False] * len(rows)
        return [
            FAILED if failed else self._answer(row[width:])
            for row, failed in zip(out.tolist(), has_failed, strict=True)
        ]

    def _generate(self, rows: list[list[int]], prefix: Prefix, **arguments: Any) -> Any:
        """Greedy: what samples is a processor. Padding stands between the prefix and a row's own tokens."""
        start, device = len(prefix), self.model.device
        ids, mask = left_padded([row[start:] for row in rows], self._pad)
        cache = prefix.copied(len(rows), self._fill)
        return self.model.generate(
            input_ids=torch.tensor([prefix.ids + row for row in ids], device=device),
            attention_mask=torch.tensor([[1] * start + row for row in mask], device=device),
            do_sample=False, temperature=None, top_p=None, top_k=None, pad_token_id=self._pad, eos_token_id=self._stops,
            **({"past_key_values": cache} if cache is not None else {}), **arguments,
        )  # fmt: skip

    def _fill(self, ids: list[int], cache: Any) -> None:
        self.model(input_ids=torch.tensor([ids], device=self.model.device), past_key_values=cache, use_cache=True)

    def _answer(self, ids: list[int]) -> Answer:
        end = next((at for at, token in enumerate(ids) if token in self._stops), None)
        ended, ids = end is not None, ids[:end]
        while ids and ids[-1] == self._pad:  # behind a stop string
            ids, ended = ids[:-1], True
        raw = self.tokenizer.decode(ids, skip_special_tokens=False)
        raw, is_stopped = cut_at_stop(raw, self.config.predict.stop)
        truncated = not ended and not is_stopped and len(ids) >= self.config.predict.max_new_tokens
        return read_answer(raw, self.config, truncated=truncated, new_tokens=len(ids))


def read_answer(raw: str, config: SFTConfig, *, truncated: bool, new_tokens: int) -> Answer:
    """The label in a model's words, or the words themselves where the task has no labels."""
    if config.task.type == "generation":
        return Answer(raw, "truncated" if truncated else None, raw, new_tokens=new_tokens)
    label, reason = parse_label(raw, config.task, truncated=truncated)
    return Answer(label, reason, raw, new_tokens=new_tokens)


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _keeps_all(model: Any) -> bool:
    """Whether every layer keeps every key: with a window, padding behind the prefix would push the prefix out of it."""
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or [])
    has_window = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    return kinds == {"full_attention"} if kinds else not has_window
