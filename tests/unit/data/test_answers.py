"""The parser on hand-written answers, and on thousands made by a generator that knows the truth.

python -m tests.unit.data.test_answers prints the table of outcomes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftlib.config.data import TaskSection
from sftlib.data.parsing import BAD_LABEL, NO_JSON, REFUSAL, TRUNCATED, alias_table, parse_label

LABELS = ["hate", "normal"]
TASKS = {
    target: TaskSection(type="classification", labels=LABELS, positive="hate", target=target)  # type: ignore[arg-type]
    for target in ("json", "label")
}
GENERATED = 20_000


def hand_written() -> Iterator[tuple[str, bool, str, str]]:
    """Target, whether the answer was cut, outcome, answer."""
    target, truncated = "", False
    for line in (Path(__file__).with_name("answers.txt")).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            target, truncated = line[2:].split(":")[0].split()[0], "truncated" in line
        elif target and line.strip():
            outcome, _, raw = line.partition(" ")
            yield target, truncated, outcome, raw.strip().replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


ANSWERS = list(hand_written())


def outcome(raw: str, target: str, truncated: bool) -> str:
    label, reason = parse_label(raw, TASKS[target], truncated=truncated)
    assert (label is None) != (reason is None)
    return label or f"!{reason}"


def test_there_are_hundreds_of_them() -> None:
    assert len(set(ANSWERS)) >= 200


@pytest.mark.parametrize(
    ("target", "truncated", "expected", "raw"), ANSWERS, ids=[f"{a[0]}-{a[3][:40]!r}" for a in ANSWERS]
)
def test_hand_written_answers(target: str, truncated: bool, expected: str, raw: str) -> None:
    assert outcome(raw, target, truncated) == expected


# The generator: an answer is a value in an object, in wrappings that change nothing, or one of the ways to say nothing.
SPELLINGS = {"hate": ["hate", "Hate", "HATE", "hateful", "hate_speech", " hate ", "hate."],
             "normal": ["normal", "Normal", "benign", "not_hate", "NOT_HATE", "normal "]}  # fmt: skip
WRONG = [
    "not hate",
    "hate: no",
    "no hate",
    "hate or normal",
    "hate/normal",
    "nonhate",
    "abnormal",
    "hate?",
    "unsure",
    "",
    "hat",
    "normally",
]
WORDS = [
    "the",
    "post",
    "hate",
    "normal",
    "not",
    "is",
    "people",
    "it's",
    "hateful",
    "benign",
    "because",
    "“quoted”",
    "they",
    "\n",
]
REFUSALS = ["I'm sorry, but I can't help.", "I cannot judge this.", "As an AI, I do not say hate or normal."]


def prose(draw: random.Random, most: int = 12) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(0, most)))


def an_object(draw: random.Random, value: object) -> str:
    """The answer's object among further keys, whose texts speak of the other label."""
    items: list[tuple[str, object]] = [("classification", value)]
    for key in draw.sample(["rationale", "confidence", "spans", "other"], draw.randint(0, 3)):
        items.append(
            (
                key,
                {
                    "rationale": prose(draw),
                    "confidence": draw.random(),
                    "spans": [prose(draw, 3)],
                    "other": {"hate": 1},
                }[key],
            )
        )
    draw.shuffle(items)
    text = json.dumps(dict(items), ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, None, 2]))
    style = draw.random()
    if style < 0.15:
        text = text[:-1] + ",}"
    elif style < 0.3 and "'" not in text and "\\" not in text:
        text = text.replace('"', "'")
    return text


def wrapped(draw: random.Random, text: str, decoy: str) -> str:
    """The same answer with prose, fences, channels or thoughts around it; `decoy` is an object that must not count."""
    kind = draw.randrange(9)
    return {
        0: text,
        1: f"```json\n{text}\n```",
        2: f"{prose(draw)} {text}",
        3: f"{text} {prose(draw)}",
        4: f"<|channel|>analysis<|message|>{prose(draw)} {decoy}<|end|><|start|>assistant<|channel|>final<|message|>{text}<|return|>",
        5: f"analysisWe {prose(draw)} {decoy}assistantfinal{text}",
        6: f"<think>{prose(draw)} {decoy}</think>\n{text}",
        7: f"{decoy} {prose(draw)} {text}",
        8: f"{prose(draw)}\n```json\n{text}\n```\n{prose(draw)}",
    }[kind]


def generated(draw: random.Random) -> tuple[str, bool, str, str]:
    """Kind, whether it was cut, the truth, the answer; for a task with target json."""
    label = draw.choice(LABELS)
    decoy = an_object(draw, draw.choice([name for name in LABELS if name != label]))
    kind = draw.choice(
        ["answer"] * 6 + ["wrong label", "no text", "words only", "refusal", "cut", "analysis only", "twice"]
    )
    if kind == "answer":
        return kind, draw.random() < 0.1, label, wrapped(draw, an_object(draw, draw.choice(SPELLINGS[label])), decoy)
    if kind == "wrong label":
        return kind, False, f"!{BAD_LABEL}", wrapped(draw, an_object(draw, draw.choice(WRONG)), decoy)
    if kind == "no text":
        return (
            kind,
            False,
            f"!{BAD_LABEL}",
            wrapped(draw, an_object(draw, draw.choice([1, None, True, ["hate"], {"a": "hate"}])), decoy),
        )
    if kind == "words only":
        return kind, False, f"!{NO_JSON}", f"The {prose(draw)} {draw.choice(LABELS)}"
    if kind == "refusal":
        return kind, False, f"!{REFUSAL}", f"{draw.choice(REFUSALS)} {prose(draw)}"
    if kind == "cut":
        whole = json.dumps({"classification": label, "rationale": prose(draw)})
        return kind, True, f"!{TRUNCATED}", prose(draw) + whole[: draw.randint(0, len(whole) - 1)]
    if kind == "analysis only":
        start = draw.choice(["<|channel|>analysis<|message|>", "analysisWe ", "<think>"])
        return kind, False, f"!{NO_JSON}", f"{start}{prose(draw)} {decoy} {prose(draw)}"
    one, other = draw.sample(LABELS, 2)
    return (
        kind,
        False,
        f"!{BAD_LABEL}",
        f'{{"classification": "{one}", "rationale": "{draw.choice("xyz")}", "classification": "{other}"}}',
    )


def table(seed: int = 0, count: int = GENERATED) -> tuple[Counter[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """How often each kind had which truth and which outcome, and every answer that was read wrongly."""
    draw, counts, wrong = random.Random(seed), Counter(), []
    for _ in range(count):
        kind, cut, truth, raw = generated(draw)
        found = outcome(raw, "json", cut)
        counts[kind, truth, found] += 1
        if found != truth:
            wrong.append((truth, found, raw))
    return counts, wrong


def test_thousands_of_generated_answers_are_read_as_they_were_meant() -> None:
    counts, wrong = table()
    assert not wrong[:5]
    assert sum(counts.values()) == GENERATED and {kind for kind, _, _ in counts} >= {
        "answer",
        "cut",
        "analysis only",
        "twice",
    }


def test_a_label_is_never_read_out_of_words_alone() -> None:
    draw = random.Random(1)
    for _ in range(3000):
        raw = prose(draw, 20)
        if raw.strip().strip("\"'.").casefold() not in alias_table(TASKS["label"]):
            assert outcome(raw, "json", False).startswith("!")
            assert outcome(raw, "label", False).startswith("!")


def test_own_aliases_replace_the_defaults_and_a_spelling_of_two_labels_is_none() -> None:
    task = TaskSection(labels=LABELS, aliases={"hate": ["toxic", "both"], "normal": ["fine", "both"]}, target="json")
    assert alias_table(task) == {"hate": "hate", "toxic": "hate", "normal": "normal", "fine": "normal"}
    assert parse_label('{"classification": "both"}', task) == (None, BAD_LABEL)
    assert parse_label('{"classification": "hateful"}', task) == (None, BAD_LABEL)
    assert alias_table(TaskSection(labels=["yes", "no"])) == {"yes": "yes", "no": "no"}


@pytest.mark.parametrize(
    "raw", ["{" * 20_000, '{"a":' * 3000, "[" * 5000 + "}", "}" * 5000, "{'" * 3000, '{"classification": "' * 500]
)
def test_no_answer_takes_long_or_breaks_it(raw: str) -> None:
    assert outcome(raw, "json", False) == f"!{NO_JSON}"


def main() -> None:
    counts, wrong = table()
    print(
        f"hand-written: {sum(outcome(raw, target, cut) == want for target, cut, want, raw in ANSWERS)} of {len(ANSWERS)} right"
    )
    print(
        f"generated: {sum(counts.values()) - len(wrong)} of {sum(counts.values())} right\n\n| kind | truth | read as | answers |\n|---|---|---|---|"
    )
    for (kind, truth, found), count in sorted(counts.items()):
        print(f"| {kind} | {truth} | {found} | {count:,} |")


if __name__ == "__main__":
    main()
