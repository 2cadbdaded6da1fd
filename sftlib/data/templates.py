"""Chat templates by name, or chosen by looking at the data's format and the tokenizer; each turns messages into text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sftlib.config.data import PromptSection
from sftlib.data.jinja import compile_template, with_reasoning
from sftlib.data.template_texts import ALPACA, CHATML, HARMONY, INSTRUCTION, LLAMA3, PLAIN, ZEPHYR
from sftlib.errors import DataError, InputError

DEFAULT_DATE = PromptSection().date
# A token of the vocabulary that speaks for a template, where the tokenizer carries none.
_SPEAKING_TOKENS = {"<|channel|>": "harmony", "<|start_header_id|>": "llama3", "<|im_start|>": "chatml"}

_WRITTEN = re.compile(r"<\|\w+\|>")  # what a template writes as a token of its own


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and why it was chosen."""

    name: str
    source: str
    reason: str
    date: str = DEFAULT_DATE  # the day that the template prints, if it prints one
    arguments: dict[str, Any] = field(default_factory=dict)  # further variables, such as enable_thinking

    def render(
        self,
        tokenizer: Any,
        messages: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[dict[str, Any]] = (),
    ) -> str:
        """The messages as text, as the tokenizer's apply_chat_template would give it on the template's date."""
        template = compile_template(self.source, self.date)
        if tools and not self.shows_tools:
            raise DataError(
                f"template {self.name} has no place for the record's field `tools`: take one that shows tools "
                f"(prompt.template_file, or a model whose own does), or remove the field"
            )
        variables = {"tools": None, "documents": None, **tokenizer.special_tokens_map, **self.arguments}
        if tools:
            variables["tools"] = list(tools)
        stated = [with_reasoning({key: value for key, value in turn.items() if value is not None}) for turn in messages]
        try:
            return template.render(messages=stated, add_generation_prompt=add_generation_prompt, **variables)
        except Exception as error:  # whatever a template raises is about these messages
            raise DataError(f"template {self.name} cannot render this conversation: {error}") from None

    @property
    def shows_tools(self) -> bool:
        return re.search(r"\btools\b", self.source) is not None


@dataclass(frozen=True)
class AlpacaTemplate(ChatTemplate):
    """`### Instruction:`, `### Input:`, `### Response:` behind the sentence that Alpaca models know."""

    name: str = "alpaca"
    source: str = ALPACA
    reason: str = "named in prompt.template"


class TemplateRegistry:
    """Name -> Jinja source. `auto` and `tokenizer` are chosen by looking at the tokenizer."""

    sources = {  # noqa: RUF012
        "chatml": CHATML, "plain": PLAIN, "zephyr": ZEPHYR, "llama3": LLAMA3, "harmony": HARMONY, "alpaca": ALPACA,
        "instruction": INSTRUCTION,
    }  # fmt: skip

    @classmethod
    def names(cls) -> list[str]:
        return ["auto", "tokenizer", *cls.sources]

    @classmethod
    def get(cls, name: str, reason: str = "named in prompt.template", **options: Any) -> ChatTemplate:
        """A template of the registry; raises InputError that lists the names."""
        if name not in cls.sources:
            raise InputError(f"prompt.template = {name!r}: there are: {', '.join(cls.names())}")
        kind = AlpacaTemplate if name == "alpaca" else ChatTemplate
        return kind(**{"name": name, "source": cls.sources[name], "reason": reason, **options})

    @classmethod
    def choose(
        cls, prompt: PromptSection, tokenizer: Any, data_format: Callable[[], str | None] = lambda: None
    ) -> ChatTemplate:
        """The template that the experiment asks for; `data_format` is asked only where the tokenizer leaves it open."""
        options: dict[str, Any] = {"date": prompt.date, "arguments": dict(prompt.template_arguments)}
        own = _own_template(tokenizer)
        if prompt.template_file:
            source = _read(Path(prompt.template_file))
            return ChatTemplate("file", source, f"prompt.template_file {prompt.template_file}", **options)
        if prompt.template in ("auto", "tokenizer") and own:
            return ChatTemplate("tokenizer", own, "the tokenizer carries its own chat template", **options)
        if prompt.template == "tokenizer":
            raise InputError(
                "prompt.template = 'tokenizer': the tokenizer carries none; name one, or give a template_file"
            )
        if prompt.template != "auto":
            return cls._fitted(cls.get(prompt.template, **options), tokenizer)
        return cls._fitted(cls.get(*cls._by_looking(tokenizer, data_format()), **options), tokenizer)

    @classmethod
    def _by_looking(cls, tokenizer: Any, data_format: str | None) -> tuple[str, str]:
        bare = "the tokenizer carries no chat template"
        if data_format == "alpaca":
            return "alpaca", f"{bare}, and the data are in alpaca format"
        if data_format == "columns":
            return "instruction", f"{bare}, and the data are columns of instructions"
        vocabulary = tokenizer.get_vocab()
        for token, name in _SPEAKING_TOKENS.items():
            if token in vocabulary:
                return name, f"{bare}, and its vocabulary has {token}"
        return "chatml", bare

    @classmethod
    def _fitted(cls, template: ChatTemplate, tokenizer: Any) -> ChatTemplate:
        """With the token that the tokenizer would begin a text with, where the template does not write it."""
        source, bos = template.source, tokenizer.bos_token
        begins = bos is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        if begins and not source.startswith((bos, "{{ bos_token }}")):
            source = "{{ bos_token }}" + source
        unknown = [token for token in _WRITTEN.findall(source) if token not in tokenizer.get_vocab()]
        note = f"; {unknown[0]} is no token of this tokenizer and is read as ordinary text" if unknown else ""
        return replace(template, source=source, reason=template.reason + note)


def _own_template(tokenizer: Any) -> str | None:
    """The tokenizer's template; of several named ones the default."""
    own = getattr(tokenizer, "chat_template", None)
    return own.get("default") if isinstance(own, dict) else own


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"prompt.template_file = {str(path)!r}: cannot be read: {error}") from None
