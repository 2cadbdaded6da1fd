"""Method `generate`: the model's own words, then the parser (classification) or the text as it is (open-ended)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from sftlib.config.tree import SFTConfig
from sftlib.data.parsing import parse_label
from sftlib.data.rendering import Prompt, Renderer
from sftlib.infer.answers import Answer
from sftlib.infer.batches import BATCH_TOKENS, left_padded, token_batches


class Generator:
    """Answers prompts by decoding."""

    def __init__(self, model: Any, renderer: Renderer, config: SFTConfig) -> None:
        self.model, self.config, self.tokenizer = model, config, renderer.tokenizer
        self.stop_ids = renderer.stop_ids

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompt], tick: Callable[[int], None]) -> list[Answer]:
        """One answer a prompt, in the order of the prompts."""
        answers: list[Answer | None] = [None] * len(prompts)
        room = self.config.predict.max_new_tokens
        torch.manual_seed(self.config.predict.seed)
        for batch in token_batches(
            [len(prompt.ids) + room for prompt in prompts], self.config.predict.batch_tokens or BATCH_TOKENS
        ):
            for position, ids in zip(batch, self._batch([prompts[i].ids for i in batch]), strict=True):
                answers[position] = self._answer(ids)
            tick(len(batch))
        return [answer for answer in answers if answer is not None]

    def _batch(self, prompts: list[list[int]]) -> list[list[int]]:
        ids, mask = left_padded(prompts, self.tokenizer.pad_token_id)
        device, predict = self.model.device, self.config.predict
        sampling = {"do_sample": True, "temperature": predict.temperature, "top_p": predict.top_p}
        stopping = {"stop_strings": predict.stop, "tokenizer": self.tokenizer} if predict.stop else {}
        out = self.model.generate(
            input_ids=torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=predict.max_new_tokens, pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.stop_ids, **(sampling if predict.temperature else {"do_sample": False}),
            **stopping,
        )  # fmt: skip
        return [row[len(ids[0]) :] for row in out.tolist()]

    def _answer(self, ids: list[int]) -> Answer:
        end = next((at for at, token in enumerate(ids) if token in self.stop_ids), None)
        ended, ids = end is not None, ids[:end]
        raw = self.tokenizer.decode(ids, skip_special_tokens=False)
        truncated = not ended and len(ids) >= self.config.predict.max_new_tokens
        if self.config.task.type == "generation":
            return Answer(raw, "truncated" if truncated else None, raw, new_tokens=len(ids))
        label, reason = parse_label(raw, self.config.task, truncated=truncated)
        return Answer(label, reason, raw, new_tokens=len(ids))
