"""The one renderer: a sample's prompt as text and token ids, and for training the completion behind it.

Training and prediction call the same function, so that a prompt cannot differ between them; the fingerprint of what
it renders travels with the adapter and with each shard. Labels come from structure, never from searching a marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sftlib.artifacts.hashing import sha256_value
from sftlib.config.inputs import format_of
from sftlib.config.tree import SFTConfig
from sftlib.data.control_tokens import ControlTokens, TextEncoder
from sftlib.data.frames import Frame, Span, measure_frame
from sftlib.data.samples import Message, Sample
from sftlib.data.templates import ChatTemplate, TemplateRegistry
from sftlib.errors import DataError, InputError

IGNORED = -100  # the label that no loss counts
_PROBES = ("A first probe.", "Zweite Probe: naïve façade 🙂", "{braces} ### Output\n<|im_end|>")


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it answers."""

    text: str
    ids: list[int]
    sample_id: str


@dataclass(frozen=True)
class TrainingRow:
    """Prompt and completion in one row; labels are IGNORED where nothing is learnt."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class _Texts:
    """One sample as text, with the record's control tokens marked."""

    prompt: str
    completion: str
    spans: list[Span]  # earlier answers within the prompt that are learnt too


class Renderer:
    """Renders samples with one tokenizer and one template."""

    def __init__(self, config: SFTConfig, tokenizer: Any) -> None:
        if tokenizer.eos_token is None:
            raise InputError(f"{type(tokenizer).__name__} has no end-of-text token: an answer would never end")
        self.config, self.tokenizer = config, tokenizer
        self.template: ChatTemplate = TemplateRegistry.choose(
            config.prompt, tokenizer, lambda: format_of(config, "train")
        )
        self.control = ControlTokens(tokenizer, self.template.source)
        self.encoder = TextEncoder(self.control)
        self.frame: Frame = measure_frame(self.template, self.control)
        self._begin = tokenizer.bos_token if _begins_texts(tokenizer) else ""

    @property
    def stop_ids(self) -> list[int]:
        """The tokens at which an answer ends: the template's end of turn, and the end of text."""
        return sorted({int(self.tokenizer.convert_tokens_to_ids(token)) for token in self._endings()})

    @property
    def end_id(self) -> int:
        """The token that follows an answer: the template's end of turn where it has one, else the end of text."""
        return int(self.tokenizer.convert_tokens_to_ids(next(iter(self._endings()))))

    def _endings(self) -> list[str]:
        ending = self.frame.ending.strip()
        return [*([ending] if ending in self.control.names else []), self.tokenizer.eos_token]

    def prompt(self, sample: Sample) -> Prompt:
        return self.prompts([sample])[0]

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """What `prompt` gives, for many at once."""
        texts = [self._prompt_text(sample) for sample in samples]
        return [
            Prompt(self.control.unguard(text), ids, sample.id)
            for sample, text, ids in zip(samples, texts, self.encoder.ids(texts), strict=True)
        ]

    def row(self, sample: Sample) -> TrainingRow:
        return self.rows([sample])[0]

    def rows(self, samples: Sequence[Sample]) -> list[TrainingRow]:
        """One row a sample: prompt ids and completion ids of one rendering, with labels as train.loss_on says."""
        texts = [self._texts(sample) for sample in samples]
        prompts = self._prompt_ids(texts)
        completions = self._completion_ids(samples, texts, [ids for ids, _ in prompts])
        everything = self.config.train.loss_on == "all"
        return [
            TrainingRow(ids + completion, (list(ids) if everything else labels) + completion)
            for (ids, labels), completion in zip(prompts, completions, strict=True)
        ]

    def answer_ids(self, text: str) -> list[int]:
        """The token ids of an answer, as training puts them behind a prompt; without the end of turn."""
        row = self.row(Sample("answer", self._probe("-"), text))
        ids = row.ids[len(self.prompt(Sample("answer", self._probe("-"), None)).ids) :]
        while ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        return ids

    def fingerprint(self) -> str:
        """The hash of template, prompt texts and the token ids that they give on fixed probes."""
        config = self.config
        probes = [self.prompt(Sample(str(i), self._probe(text), None)).ids for i, text in enumerate(_PROBES)]
        texts = [config.prompt.system, config.prompt.user, config.task.model_dump(mode="json"), config.data.format]
        variables = [self.template.date, self.template.arguments]
        return sha256_value([self.template.source, texts, probes, variables])

    def _probe(self, text: str) -> list[Message]:
        system = self.config.prompt.system
        asked = [{"role": "user", "content": text}]
        return asked if system is None else [{"role": "system", "content": system}, *asked]

    def _prompt_text(self, sample: Sample) -> str:
        if not sample.messages:  # plain text has no prompt
            return self._begin
        return self._render(self._guarded(sample.messages), sample, add_generation_prompt=True)

    def _render(self, guarded: list[Message], sample: Sample, *, add_generation_prompt: bool) -> str:
        tools = self._guarded_value(sample.tools, False)
        try:
            return self.template.render(
                self.tokenizer, guarded, tools=tools, add_generation_prompt=add_generation_prompt
            )
        except DataError as error:
            raise DataError(f"sample {sample.id}: {self.control.unguard(str(error))}") from None

    def _guarded(self, messages: Sequence[Message]) -> list[Message]:
        return [self._guarded_turn(turn) for turn in messages]

    def _guarded_turn(self, turn: Message) -> Message:
        is_answer = turn["role"] == "assistant"
        return {key: value if key == "role" else self._guarded_value(value, is_answer) for key, value in turn.items()}

    def _guarded_value(self, value: Any, is_answer: bool) -> Any:
        if isinstance(value, str):
            return self.control.guard(value, is_answer=is_answer)
        if isinstance(value, dict):
            return {key: self._guarded_value(item, is_answer) for key, item in value.items()}
        return [self._guarded_value(item, is_answer) for item in value] if isinstance(value, list) else value

    def _texts(self, sample: Sample) -> _Texts:
        if sample.target is None:
            raise DataError(f"sample {sample.id} has no answer to learn from")
        if not sample.messages:
            text = sample.target if self.config.data.text_is_rendered else self.control.guard(sample.target)
            begin = "" if self._begin and text.startswith(self._begin) else self._begin
            return _Texts(begin, self._ended(text), [])
        prompt = self._prompt_text(sample)
        spans = self._earlier_answers(sample, prompt) if self.config.train.loss_on == "assistant" else []
        return _Texts(prompt, self._completion(sample, prompt), spans)

    def _completion(self, sample: Sample, prompt: str) -> str:
        """What the whole conversation's rendering adds behind the prompt, up to where the answer ends."""
        answer = {"role": "assistant", "content": sample.target, **sample.answer_fields}
        guarded = self._guarded([*sample.messages, answer])
        whole = self._render(guarded, sample, add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise DataError(
                f"template {self.template.name}: the prompt of sample {sample.id} is not a prefix of prompt and answer: "
                f"the template renders past turns differently; use another prompt.template"
            )
        return self._ended(self.frame.without_tail(whole[len(prompt) :]))

    def _ended(self, text: str) -> str:
        return text if text.endswith(self.tokenizer.eos_token) else text + self.tokenizer.eos_token

    def _earlier_answers(self, sample: Sample, prompt: str) -> list[Span]:
        answers = [turn for turn in sample.messages if turn["role"] == "assistant"]
        if not answers:
            return []
        render = lambda turns: self._render(turns, sample, add_generation_prompt=True)  # noqa: E731
        spans = self.frame.answer_spans(self._guarded(sample.messages), prompt, render)
        if spans is None:
            raise DataError(
                f"template {self.template.name}: sample {sample.id}: an earlier answer is not rendered as it stands in "
                f"the record, so it cannot be learnt from: use another prompt.template, or train.loss_on: completion"
            )
        return [span for span, turn in zip(spans, answers, strict=True) if turn.get("weight") != 0]

    def _prompt_ids(self, texts: list[_Texts]) -> list[tuple[list[int], list[int]]]:
        """Ids and labels of each prompt; the labels of earlier answers come from where their tokens stand."""
        if not any(text.spans for text in texts):
            return [(ids, [IGNORED] * len(ids)) for ids in self.encoder.ids([text.prompt for text in texts])]
        encoded = self.encoder.ids_and_offsets([text.prompt for text in texts])
        return [(ids, self._labels(text, ids, offsets)) for text, (ids, offsets) in zip(texts, encoded, strict=True)]

    def _labels(self, text: _Texts, ids: list[int], offsets: list[Span]) -> list[int]:
        labels = [IGNORED] * len(ids)
        spans = [tuple(self.encoder.position(text.prompt, at) for at in span) for span in text.spans]
        following = iter(spans)
        span = next(following, None)
        for index, (start, end) in enumerate(offsets):
            while span is not None and start >= span[1]:
                span = next(following, None)
            if span is None:
                break
            if start >= span[0] and end <= span[1]:
                labels[index] = ids[index]
        return labels

    def _completion_ids(
        self, samples: Sequence[Sample], texts: list[_Texts], prompts: list[list[int]]
    ) -> list[list[int]]:
        alone = self.encoder.ids([text.completion for text in texts])
        if not self.encoder.adds_context:
            return alone
        wholes = self.encoder.ids([text.prompt + text.completion for text in texts])
        return [
            self._behind(sample, text.completion, prompt, completion, whole)
            for sample, text, prompt, completion, whole in zip(samples, texts, prompts, alone, wholes, strict=True)
        ]

    def _behind(self, sample: Sample, text: str, prompt: list[int], alone: list[int], whole: list[int]) -> list[int]:
        """The completion's ids where a text's start is encoded in its own way (a space is put before it)."""
        if whole[: len(prompt)] == prompt:
            return whole[len(prompt) :]
        for ids in (alone, self.encoder.behind_a_line_break(text)):
            if ids is not None and self.tokenizer.decode([*prompt, *ids]) == self.tokenizer.decode(whole):
                return ids
        raise DataError(
            f"template {self.template.name}: the tokens of sample {sample.id} do not part where its answer begins: use a "
            f"template whose prompt ends with a line break or a token of its own"
        )


def _begins_texts(tokenizer: Any) -> bool:
    """Whether the tokenizer itself begins a text with its first token."""
    return tokenizer.bos_token is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def tokenizer_digest(tokenizer: Any) -> str:
    """The hash of vocabulary, merges and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    value = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    return sha256_value([value, tokenizer.eos_token, tokenizer.bos_token])
