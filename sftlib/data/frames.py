"""What a template puts around an answer, measured once on a probe: the lead before it, and the ending that is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sftlib.data.control_tokens import ControlTokens
from sftlib.data.templates import ChatTemplate
from sftlib.errors import DataError, InputError

Span = tuple[int, int]  # characters of a rendered text
_ANSWER = "sftprobe"


@dataclass(frozen=True)
class Frame:
    """The surroundings of answers under one template and tokenizer."""

    tail: str  # what the template writes behind the last answer
    ending: str  # the part of it that is learnt: up to the end of text, or to the first control token
    inner_lead: str  # between the generation prompt and an answer that is followed by further turns
    inner_ending: str  # what ends such an answer
    marks: tuple[str, str]  # put around an answer while it is looked for

    def without_tail(self, completion: str) -> str:
        """The answer with its ending, without the line break or words that a template may put behind."""
        if completion.endswith(self.tail):
            return completion[: len(completion) - len(self.tail)] + self.ending
        return completion.rstrip()  # the template ends this answer in another way (a tool call)

    def answer_spans(
        self, turns: list[dict[str, Any]], prompt: str, render: Callable[[list[dict[str, Any]]], str]
    ) -> list[Span] | None:
        """Where the assistant's turns stand in the rendered prompt, with lead and ending; None where the template
        changes them. Each answer is rendered between two marks; a template that trims is shown them trimmed."""
        for trimmed in (False, True):
            marked = render([self._bracketed(turn, trimmed) for turn in turns])
            if marked.replace(self.marks[0], "").replace(self.marks[1], "") == prompt:
                return self._spans(marked, prompt, sum(turn["role"] == "assistant" for turn in turns))
        return None

    def _spans(self, marked: str, prompt: str, count: int) -> list[Span] | None:
        before, *pieces = marked.split(self.marks[0])
        spans, start = [], len(before)  # in the prompt, which is the marked text without its marks
        for piece in pieces:
            answer, _, between = piece.partition(self.marks[1])
            end = start + len(answer)
            framed = (start - len(self.inner_lead), end + len(self.inner_ending))
            if prompt[framed[0] : framed[1]] != f"{self.inner_lead}{answer}{self.inner_ending}":
                return None
            spans.append(framed)
            start = end + len(between)
        return spans if len(spans) == count else None

    def _bracketed(self, turn: dict[str, Any], trimmed: bool) -> dict[str, Any]:
        if turn["role"] != "assistant":
            return turn
        content = turn["content"].strip() if trimmed else turn["content"]
        return {**turn, "content": f"{self.marks[0]}{content}{self.marks[1]}"}


def measure_frame(template: ChatTemplate, control: ControlTokens) -> Frame:
    """Render two probes; raises InputError when the template cannot be answered."""
    asked, answered = {"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}
    tokenizer, eos = control.tokenizer, control.tokenizer.eos_token
    try:
        last = template.render(tokenizer, [asked, answered], add_generation_prompt=False)
        prompt = template.render(tokenizer, [asked], add_generation_prompt=True)
    except DataError as error:
        raise InputError(f"{error}: use another prompt.template") from None
    if last.count(_ANSWER) != 1:
        raise InputError(f"template {template.name} does not render the assistant's turn: use another prompt.template")
    bos = tokenizer.bos_token
    if bos and prompt.startswith(bos + bos):
        raise InputError(f"template {template.name} begins a text with {bos!r} twice: the model never saw that")
    tail = last.rpartition(_ANSWER)[2]
    ending = _ending(tail, eos, control)
    inner = _inner(template, tokenizer, [asked, answered, asked], prompt, ending, control)
    return Frame(tail, ending, *inner, (control.open, control.close))


def _ending(tail: str, eos: str, control: ControlTokens) -> str:
    """Up to the end of text; else up to the first control token; else the end of text alone, which ends any answer."""
    if eos in tail:
        return tail[: tail.index(eos) + len(eos)]
    end = control.first_end(tail)
    return tail[:end] if end is not None else ""


def _inner(
    template: ChatTemplate,
    tokenizer: Any,
    turns: list[dict[str, str]],
    prompt: str,
    ending: str,
    control: ControlTokens,
) -> tuple[str, str]:
    """Lead and ending of an answer within a conversation. A template without roles that alternate has none."""
    try:
        whole = template.render(tokenizer, turns, add_generation_prompt=True)
    except DataError:
        return "", ""
    before, _, after = whole.partition(_ANSWER)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    if ending:
        end = control.first_end(after)
        return lead, after[:end] if end is not None else ""
    return lead, tokenizer.eos_token if after.startswith(tokenizer.eos_token) else ""
