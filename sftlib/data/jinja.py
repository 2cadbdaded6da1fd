"""Jinja chat templates, compiled as transformers compiles them, with a fixed date: a template that prints today's date
(Llama 3, gpt-oss) would otherwise make the prompts of training and of tomorrow's prediction differ."""

from __future__ import annotations

import datetime
import json
from functools import lru_cache
from typing import Any

from sftlib.errors import InputError

_REASONING = ("reasoning_content", "thinking", "reasoning")  # the names under which messages carry it


@lru_cache(maxsize=32)
def compile_template(source: str, date: str) -> Any:
    """A compiled template; raises InputError that says where the source is wrong."""
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_extension(), loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = datetime.datetime.fromisoformat(date).strftime
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"the chat template is not valid Jinja: line {error.lineno}: {error.message}") from None


def with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """A message's reasoning under each name that templates read."""
    reasoning = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # Jinja's own filter escapes HTML, which no model should read.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _generation_extension() -> Any:
    """`{% generation %}...{% endgeneration %}`: rendered as its body; our masks come from structure."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return Generation
