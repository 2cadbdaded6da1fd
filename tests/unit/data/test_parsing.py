"""What counts as an answer. Never a substring."""

from __future__ import annotations

import pytest

from sftlib.config.data import TaskSection
from sftlib.data.parsing import parse_label

ALIASES = {"hate": ["hateful", "hate_speech"], "normal": ["benign", "not_hate"]}
LABEL = TaskSection(type="classification", labels=["hate", "normal"], positive="hate", aliases=ALIASES)
JSON = TaskSection(type="classification", labels=["hate", "normal"], positive="hate", target="json", aliases=ALIASES)

CASES = [
    (LABEL, "hate", "hate", None),
    (LABEL, " Normal.\n", "normal", None),
    (LABEL, "Hateful", "hate", None),
    (LABEL, "not hate", None, "bad_label"),
    (LABEL, "hate: no", None, "bad_label"),
    (LABEL, "This is hate", None, "bad_label"),
    (LABEL, "I'm sorry, but I can't help with that", None, "refusal"),
    (LABEL, "", None, "bad_label"),
    (JSON, '{"classification": "hate"}', "hate", None),
    (JSON, '{"classification": "Not_Hate", "rationale": "it quotes hate"}', "normal", None),
    (JSON, '```json\n{"classification": "normal"}\n```', "normal", None),
    (JSON, 'Sure! {"classification": "normal"} Hope that helps', "normal", None),
    (JSON, '{"classification": "hate"} no wait {"classification": "normal"}', "normal", None),
    (JSON, '{{"classification": "hate"}}', "hate", None),
    (JSON, '{"classification": "maybe"}', None, "bad_label"),
    (JSON, '{"classification": 1}', None, "bad_label"),
    (JSON, '{"label": "hate"}', None, "no_json"),
    (JSON, '{"classification": "hate', None, "no_json"),
    (JSON, "hate", None, "no_json"),
    (JSON, 'analysisThe user says {"classification": "hate"}assistantfinal{"classification": "normal"}', "normal", None),
    (JSON, 'analysisIt could be {"classification": "hate"}', None, "no_json"),
    (JSON, '<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{"classification": "hate"}<|return|>', "hate", None),
    (JSON, "{" * 5000, None, "no_json"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "raw", "label", "reason"), CASES, ids=[repr(case[1])[:40] for case in CASES])
def test_outcomes(task: TaskSection, raw: str, label: str | None, reason: str | None) -> None:
    assert parse_label(raw, task) == (label, reason)


def test_an_answer_that_was_cut_is_named_so() -> None:
    assert parse_label('{"classification": "ha', JSON, truncated=True) == (None, "truncated")
    assert parse_label('analysisStill thinking {"classification": "hate"}', JSON, truncated=True) == (None, "truncated")
    assert parse_label('{"classification": "hate"} and so', JSON, truncated=True) == ("hate", None)
