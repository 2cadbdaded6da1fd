"""Train prompts that are not the prompts of prediction: the frame around the record's text, and the system prompt.

Where a split is rendered from records its frame is known; where a file brings finished prompts (messages, prompts) it is
what all of them have in common. Texts inside the frame may differ: they always do."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftlib.artifacts.records import read_records
from sftlib.config.placeholders import parts
from sftlib.config.references import read_strategy
from sftlib.config.tree import SFTConfig
from sftlib.data.audit.entries import Part
from sftlib.data.audit.findings import ERROR, MOST_PLACES, WARNING, Finding, percent
from sftlib.errors import InputError

FEWEST = 10  # finished prompts of one system prompt: with fewer, what they have in common may be chance
MOST_SYSTEMS = 20  # more different system prompts are content, not a frame
SHORTEST = 6  # letters in common that count as a frame
GRAVE = 0.1  # share of prompts of a kind that was never trained on from which a run stops
_RENDERED = ("labelled", "alpaca", "columns")  # the formats that go through prompt.system and prompt.user


@dataclass(frozen=True)
class Asked:
    """A prompt: its system text and what the user says, turns joined."""

    system: str | None
    user: str
    place: str


@dataclass(frozen=True)
class Frame:
    """What prompts of one kind have in common."""

    system: str | None
    before: str = ""
    after: str = ""
    any_system: bool = False

    def fits(self, asked: Asked) -> bool:
        return (
            (self.any_system or asked.system == self.system)
            and len(asked.user) >= len(self.before) + len(self.after)
            and asked.user.startswith(self.before)
            and asked.user.endswith(self.after)
        )

    def __str__(self) -> str:
        system = "any system prompt" if self.any_system else _quoted(self.system, "no system prompt", "system prompt ")
        return f"{system}, user turn {_quoted(self.before, '', '')}...{_quoted(self.after, '', '')}"


@dataclass(frozen=True)
class Prompts:
    """The prompts of one side, and their frames."""

    name: str
    asked: Sequence[Asked]
    frames: list[Frame]


def asked_of(messages: Sequence[Mapping[str, Any]], place: str) -> Asked:
    """System turns apart, everything else joined."""
    systems = [said(turn) for turn in messages if turn["role"] == "system"]
    return Asked(
        "\n".join(systems) if systems else None,
        "\n".join(said(turn) for turn in messages if turn["role"] != "system"), place,
    )  # fmt: skip


def said(turn: Mapping[str, Any]) -> str:
    """The text of a turn; of a list of parts, those that are text."""
    content = turn.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else ""


def common_frames(asked: Sequence[Asked]) -> list[Frame]:
    """The frames of finished prompts, one for each system prompt that is used often enough; none where they are few."""
    by_system: dict[str | None, list[str]] = defaultdict(list)
    for prompt in asked:
        by_system[prompt.system].append(prompt.user)
    if len(by_system) > MOST_SYSTEMS:
        return [_common(None, [prompt.user for prompt in asked], any_system=True)] if len(asked) >= FEWEST else []
    return [_common(system, users) for system, users in by_system.items() if len(users) >= FEWEST]


def _common(system: str | None, users: list[str], *, any_system: bool = False) -> Frame:
    before = _shared_start(users)
    turned = [user[::-1] for user in users]
    after = _shared_start(turned)[::-1]
    room = min(map(len, users)) - len(before)  # equal prompts: the beginning is the frame
    return Frame(
        system,
        before if len(before) >= SHORTEST else "",
        after if SHORTEST <= len(after) <= room else "",
        any_system,
    )


def _shared_start(texts: list[str]) -> str:
    """The longest beginning of all: that of the first and the last in alphabetical order."""
    first, last = min(texts), max(texts)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def template_frame(system: str | None, user: str, fields: Iterable[str] = ()) -> Frame:
    """The frame of a user template with placeholders."""
    fixed = parts(user, fields)
    return Frame(system, fixed[0], fixed[-1] if len(fixed) > 1 else "")


def split_prompts(part: Part, config: SFTConfig) -> Prompts:
    asked = [asked_of(entry.sample.messages, entry.place) for entry in part.entries]
    if part.format == "text":  # no prompt at all
        return Prompts(part.name, [], [])
    if part.format == "labelled":
        fields = part.entries[0].fields if part.entries else {}
        frames = [template_frame(config.prompt.system, config.prompt.user or "{text}", fields)]
    elif part.format in _RENDERED:
        frames = [Frame(config.prompt.system)]
    else:
        frames = common_frames(asked)
    return Prompts(part.name, asked, frames)


def prompt_file(path: Path, strategy: str | None) -> Prompts:
    """Prompts of prediction beside the data: a strategy file, or records with `messages` or `prompt`."""
    if path.suffix == ".json" and _is_strategy_file(path):
        values = read_strategy(str(path), strategy)
        return Prompts(path.name, [], [template_frame(values.get("system_prompt"), values["user_template"])])
    asked = []
    for record in read_records(path):
        messages, prompt = record.fields.get("messages"), record.fields.get("prompt")
        turns = messages if isinstance(messages, list) else prompt
        if isinstance(turns, str):
            turns = [{"role": "user", "content": turns}]
        if not isinstance(turns, list) or not all(isinstance(t, dict) and {"role", "content"} <= set(t) for t in turns):
            raise InputError(f"{record.place}: expected a field `messages` or `prompt` (--prompts)")
        while turns and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        asked.append(asked_of(turns, record.place))
    return Prompts(path.name, asked, common_frames(asked))


def _is_strategy_file(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "strategies" in content


def mismatch_finding(train: Prompts, predict: Prompts) -> Iterator[Finding]:
    """Prediction prompts of a kind that train has not; or a prediction frame that no train prompt is of."""
    if train.frames:
        strange = [asked for asked in predict.asked if not any(frame.fits(asked) for frame in train.frames)]
        if strange:
            level = ERROR if len(strange) > GRAVE * len(predict.asked) else WARNING
            yield _finding(train, predict, level, strange, len(predict.asked))
            return
    unknown = [frame for frame in predict.frames if not any(frame.fits(asked) for asked in train.asked)]
    if unknown and train.asked:
        count = len(predict.asked) or 1
        yield _finding(train, predict, ERROR, predict.asked, count, unknown)


def _finding(
    train: Prompts, predict: Prompts, level: str, strange: Sequence[Asked], of: int, frames: list[Frame] | None = None
) -> Finding:
    count = len(strange) or of
    kinds = frames or common_frames(strange) or predict.frames
    asked = (
        f"{count:,} of {of:,} prediction prompts ({percent(count, of)}) are" if strange else "the prediction prompt is"
    )
    sentence = (
        f"{asked} of a kind that no train prompt is of: "
        f"predicted with {kinds[0] if kinds else 'other prompts'}; trained with {_most_used(train)}"
    )
    return Finding(
        "prompt_mismatch", level, f"{train.name} and {predict.name}", count, of, sentence,
        places=[asked.place for asked in strange[:MOST_PLACES]],
    )  # fmt: skip


def _most_used(prompts: Prompts) -> str:
    if not prompts.frames:
        return "prompts that have nothing in common"
    uses = Counter({frame: sum(frame.fits(asked) for asked in prompts.asked) for frame in prompts.frames})
    return str(uses.most_common(1)[0][0])


def _quoted(text: str | None, without: str, name: str) -> str:
    if text is None or (not text and not name):
        return without
    short = text if len(text) <= 60 else f"{text[:34]} ... {text[-20:]}"
    return name + json.dumps(short, ensure_ascii=False)
