"""Write the bundled data set: train.jsonl, validation.jsonl and test.jsonl, byte for byte the same for a seed.

Splits are given to slots (group, label, source, scenario) first and texts written after, so that every split has its share of
each and the test split alone can draw held-out phrases.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

from .compose import Dealer, dress_as_forum, fill, shuffled
from .scenarios import FORUM_TILT, GROUPS, SCENARIOS, Scenario
from .subjects import PERSONAS

SEED = 20240611
FILES = {"train": "train.jsonl", "val": "validation.jsonl", "test": "test.jsonl"}
FORUM, PROBE = "town_forum", "synthetic_probe"
SPLIT_CYCLE = ("train", "train", "test", "train", "train", "val", "train", "test", "train", "train")
MIN_WORDS, MAX_WORDS = 8, 30
REASON_SHARE = 0.75  # of the records carry a rationale


class Slot(NamedTuple):
    """A post before it has a text."""

    group: str
    scenario: Scenario
    source: str
    number: int
    split: str


Post = tuple[Slot, dict[str, Any]]


def make_slots() -> list[Slot]:
    """All posts in stable order, each with its split by a fixed cycle: 7 train, 1 validation, 2 test of every ten."""
    planned = []
    for group_index, group in enumerate(GROUPS):
        for scenario in SCENARIOS:
            count = scenario.counts[group_index]
            forum = int(count * (scenario.forum + FORUM_TILT.get((group, scenario.label), 0.0)) + 0.5)
            planned += [(group, scenario, FORUM)] * forum + [(group, scenario, PROBE)] * (count - forum)
    planned.sort(key=lambda p: (p[0], p[1].label, p[2], p[1].name))
    return [Slot(*plan, number, SPLIT_CYCLE[number % 10]) for number, plan in enumerate(planned)]


def normalise(text: str) -> str:
    """What is left of a text without case, apostrophes and punctuation: two posts equal in this are duplicates."""
    return " ".join(re.findall(r"\w+", text.lower().replace("'", "")))


def write_post(dealer: Dealer, slot: Slot, taken: set[str]) -> dict[str, Any]:
    """The record of a slot; its bare sentence is new in the whole data set, whatever dress it wears."""
    rng, personas = dealer.rng, PERSONAS[slot.group]
    persona = personas[int(rng.random() * len(personas))]
    while True:
        bare, plural = fill(dealer, slot.scenario, slot.group, persona, slot.split)
        text = dress_as_forum(rng, bare) if slot.source == FORUM else bare
        if normalise(bare) not in taken and MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            break
    taken.add(normalise(bare))
    has_reason = rng.random() < REASON_SHARE
    reason = slot.scenario.reason.format(g=plural)
    return {
        "text": text,
        "label_binary": slot.scenario.label,
        "label_multiclass": slot.scenario.multiclass,
        "target_group_norm": slot.group,
        "persona_tag": persona.tag,
        "source_dataset": slot.source,
        "is_synthetic": slot.source == PROBE,
        "rationale_text": reason[:1].upper() + reason[1:] if has_reason else None,
        "functionality": slot.scenario.name,
        "original_id": f"{slot.source}-{slot.number:04d}",
        "split": slot.split,
    }


def make_records(seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """Records by split, shuffled so that a file's first lines are a fair sample."""
    rng = random.Random(seed)
    dealer, taken = Dealer(rng), set[str]()
    posts = [(slot, write_post(dealer, slot, taken)) for slot in make_slots()]
    posts = redraw_near(posts, Dealer(random.Random(seed + 1)), taken)
    records = {split: [post for slot, post in posts if slot.split == split] for split in FILES}
    return {split: shuffled(rng, rows) for split, rows in records.items()}


def redraw_near(posts: list[Post], dealer: Dealer, taken: set[str]) -> list[Post]:
    """Posts that are nearly a post of an earlier split (another name, another dress) are drawn anew until none is."""
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        while near := _near(posts, earlier, later):
            posts = [
                (slot, write_post(dealer, slot, taken)) if i in near else (slot, post)
                for i, (slot, post) in enumerate(posts)
            ]
    return posts


def _near(posts: list[Post], earlier: str, later: str) -> set[int]:
    """Places of the posts of `later` that the audit would call near-duplicates of one of `earlier`."""
    from sftlib.data.audit.entries import normalised
    from sftlib.data.audit.minhash import near_pairs

    places = {split: [i for i, (slot, _) in enumerate(posts) if slot.split == split] for split in (earlier, later)}
    texts = {split: [normalised(posts[i][1]["text"]) for i in at] for split, at in places.items()}
    return {places[later][place] for place in near_pairs(texts[earlier], texts[later])}


def write_files(folder: Path, seed: int = SEED) -> list[Path]:
    """Write the three files; each appears under its name only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split, rows in make_records(seed).items():
        path = folder / FILES[split]
        temporary = path.with_name(f".{path.name}.tmp")
        body = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
        temporary.write_bytes(body.encode("ascii"))
        temporary.replace(path)
        written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="example: python -m sftlib.data.posts.generate --out /tmp/posts --seed 7"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: this one)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}, the seed of the committed files")
    arguments = parser.parse_args()
    for path in write_files(arguments.out, arguments.seed):
        print(path)


if __name__ == "__main__":
    main()
