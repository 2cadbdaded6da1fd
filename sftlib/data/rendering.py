"""The one renderer: a sample's prompt as text and token ids, and for training the completion behind it.

Training and prediction call the same function, so that a prompt cannot differ between them; the fingerprint of what
it renders travels with the adapter and with each shard.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sftlib.artifacts.hashing import sha256_value
from sftlib.config.tree import SFTConfig
from sftlib.data.samples import Sample
from sftlib.data.templates import ChatTemplate, TemplateRegistry
from sftlib.errors import DataError

IGNORED = -100  # the label that no loss counts
_PROBES = ("A first probe.", "Zweite Probe: naïve façade 🙂", "{braces} ### Output\n<|im_end|>")


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it answers."""

    text: str
    ids: list[int]


@dataclass(frozen=True)
class TrainingRow:
    """Prompt and completion in one row; labels are IGNORED over the prompt."""

    ids: list[int]
    labels: list[int]


class Renderer:
    """Renders samples with one tokenizer and one template."""

    def __init__(self, config: SFTConfig, tokenizer: Any) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.template: ChatTemplate = TemplateRegistry.choose(config.prompt, tokenizer)

    def prompt(self, sample: Sample) -> Prompt:
        text = self.template.render(self.tokenizer, sample.messages, add_generation_prompt=True)
        return Prompt(text, self._ids(text))

    def row(self, sample: Sample) -> TrainingRow:
        """Labels come from structure: the completion is what the rendering adds behind the prompt."""
        if sample.target is None:
            raise DataError(f"sample {sample.id} has no answer to learn from")
        prompt = self.prompt(sample)
        completion = self._ids(self._completion(sample, prompt.text))
        return TrainingRow(prompt.ids + completion, [IGNORED] * len(prompt.ids) + completion)

    def answer_ids(self, text: str) -> list[int]:
        """The token ids of an answer, as training puts them behind a prompt; without the end of turn."""
        sample = Sample("answer", self._probe("-"), text)
        completion = self._completion(sample, self.prompt(sample).text)
        return self._ids(completion.removesuffix(self.tokenizer.eos_token))

    def _completion(self, sample: Sample, prompt_text: str) -> str:
        answered = [*sample.messages, {"role": "assistant", "content": sample.target or ""}]
        whole = self.template.render(self.tokenizer, answered, add_generation_prompt=False)
        if not whole.startswith(prompt_text):
            raise DataError(
                f"template {self.template.name}: the prompt of sample {sample.id} is not a prefix of prompt and answer: "
                f"the template renders past turns differently; use another prompt.template"
            )
        eos = self.tokenizer.eos_token
        completion = whole[len(prompt_text) :].rstrip()
        return completion if completion.endswith(eos) else completion + eos

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def fingerprint(self) -> str:
        """The hash of template, prompt texts and the token ids that they give on fixed probes."""
        config = self.config
        probes = [self.prompt(Sample(str(i), self._probe(text), None)).ids for i, text in enumerate(_PROBES)]
        texts = [config.prompt.system, config.prompt.user, config.task.model_dump(mode="json"), config.data.format]
        return sha256_value([self.template.source, texts, probes])

    def _probe(self, text: str) -> list[dict[str, str]]:
        system = self.config.prompt.system
        asked = [{"role": "user", "content": text}]
        return asked if system is None else [{"role": "system", "content": system}, *asked]


def tokenizer_digest(tokenizer: Any) -> str:
    """The hash of vocabulary, merges and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    value = json.loads(backend.to_str()) if backend is not None else sorted(tokenizer.get_vocab().items())
    return sha256_value([value, tokenizer.eos_token, tokenizer.bos_token])
