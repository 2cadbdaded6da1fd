"""Chat templates by name: each turns messages into the text that the model reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.config.data import PromptSection
from sftlib.errors import InputError

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# No roles: the turns as they are, the answer behind a space. The shortest prompt, also for models that never chatted.
_PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{% if not loop.first %}\n{% endif %}{{ message['content'] }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template that the tokenizer renders, and why it was chosen."""

    name: str
    source: str
    reason: str

    def render(self, tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        return tokenizer.apply_chat_template(
            messages, chat_template=self.source, tokenize=False, add_generation_prompt=add_generation_prompt
        )


class TemplateRegistry:
    """Name -> Jinja source. `auto` and `tokenizer` are chosen by looking at the tokenizer."""

    sources = {"chatml": _CHATML, "plain": _PLAIN}  # noqa: RUF012

    @classmethod
    def names(cls) -> list[str]:
        return ["auto", "tokenizer", *cls.sources]

    @classmethod
    def choose(cls, prompt: PromptSection, tokenizer: Any) -> ChatTemplate:
        """The template that the experiment asks for."""
        own = tokenizer.chat_template if isinstance(getattr(tokenizer, "chat_template", None), str) else None
        if prompt.template_file:
            return ChatTemplate(
                "file",
                Path(prompt.template_file).read_text(encoding="utf-8"),
                f"prompt.template_file {prompt.template_file}",
            )
        if prompt.template in ("auto", "tokenizer") and own:
            return ChatTemplate("tokenizer", own, "the tokenizer carries its own chat template")
        if prompt.template == "auto":
            return ChatTemplate("chatml", _CHATML, "the tokenizer carries no chat template")
        if prompt.template not in cls.sources:
            detail = (
                "the tokenizer carries none"
                if prompt.template == "tokenizer"
                else f"there are: {', '.join(cls.names())}"
            )
            raise InputError(f"prompt.template = {prompt.template!r}: {detail}")
        return ChatTemplate(prompt.template, cls.sources[prompt.template], "named in prompt.template")
