"""One post: a sentence drawn from its scenario, its slots filled, then dressed in the style of its source."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

from . import frames as fr
from . import predicates as pr
from . import subjects as su
from .scenarios import Scenario
from .subjects import Persona, Pool

T = TypeVar("T")

HELD_SHARE = 0.35  # of the draws in the test split that take a phrase no other split has seen

SLOTS = {
    "h": pr.HOSTILE,
    "w": pr.WARM,
    "h_fact": pr.without_should(pr.HOSTILE),
    "w_fact": pr.without_should(pr.WARM),
    "t": pr.OF_THINGS,
    "head": fr.HEADS,
    "tail": fr.TAILS,
    "swear": fr.SWEARS,
    "stance": fr.STANCES,
    "doubt": fr.DOUBTS,
    "reason": fr.REASONS,
    "place": su.PLACES,
    "day": su.DAYS,
    "role": su.ROLES,
    "things": su.THINGS,
    "nuisance": su.NUISANCES,
}
OPENERS = ("honestly, ", "ngl, ", "ok so, ", "tbh ", "look, ", "well, ", "not gonna lie, ")
CLOSERS = (" Just saying.", " Anyway.", " End of rant.", " Good night all.", " That is my two cents.")
CONTRACTIONS = {
    "do not": "don't",
    "cannot": "can't",
    "is not": "isn't",
    "are not": "aren't",
    "should not": "shouldn't",
    "would not": "wouldn't",
    "could not": "couldn't",
    "will not": "won't",
    "I am": "I'm",
    "I will": "I'll",
    "it is": "it's",
    "they are": "they're",
}
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_START = re.compile(r'(^"?|[.?!]"? )([a-z])')
_CONTRACTIBLE = re.compile(rf"\b({'|'.join(CONTRACTIONS)})\b(?! [.,;])", re.IGNORECASE)


def pick(rng: random.Random, items: tuple[str, ...]) -> str:
    """One item. `random()` alone is promised to be the same in every Python version; `choice` is not."""
    return items[int(rng.random() * len(items))]


class Dealer:
    """Deals phrases from shuffled decks, one for each pool, label and split, so that words are balanced by construction."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._decks: dict[tuple[object, ...], list[str]] = {}

    def draw(self, pool: Pool, label: str, split: str) -> str:
        """The next phrase of a deck; outside the test split never a held-out one."""
        is_held = self.rng.random() < HELD_SHARE and split == "test" and bool(pool.held)
        phrases = pool.held if is_held else pool.seen
        deck = self._decks.setdefault((phrases, label, split), [])
        if not deck:
            deck.extend(shuffled(self.rng, phrases))
        return deck.pop()


def shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    """The items in random order, the same in every Python version."""
    keys = [rng.random() for _ in items]
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def fill(dealer: Dealer, scenario: Scenario, group: str, persona: Persona, split: str) -> tuple[str, str]:
    """A sentence of the scenario about the persona, every slot filled, and the name it gives the people."""

    def draw(pool: Pool) -> str:
        return dealer.draw(pool, scenario.label, split)

    sentences, predicates = scenario.recipe
    sentence = draw(sentences)
    clause = (
        "{g} " + draw(pr.without_should(predicates) if "{f}" in sentence else predicates) if predicates.seen else ""
    )
    plural = pick(dealer.rng, persona.plurals)
    fixed = {
        "c": clause,
        "f": clause,
        "topic": draw(su.TOPICS[group]),
        "g": plural,
        "adj": persona.adjective,
        "nick": persona.nickname,
    }
    while match := _SLOT.search(sentence):
        phrase = fixed.get(match[1]) or draw(SLOTS[match[1]])
        sentence = sentence[: match.start()] + phrase + sentence[match.end() :]
    return capitalise(sentence), plural


def capitalise(text: str) -> str:
    """Sentences that start with a filled slot get their capital letter."""
    return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text)


def contract(text: str) -> str:
    """`do not` as `don't`, and so on."""

    def shorten(match: re.Match[str]) -> str:
        short = CONTRACTIONS.get(match[1]) or CONTRACTIONS[match[1][0].lower() + match[1][1:]]
        return match[1][0] + short[1:]

    return _CONTRACTIBLE.sub(shorten, text)


def dress_as_forum(rng: random.Random, text: str) -> str:
    """The forum's habits, which have nothing to do with the label: contractions, openers, closers, no capitals."""
    if rng.random() < 0.35:
        text = pick(rng, OPENERS) + keep_or_lower_first(text)
    if rng.random() < 0.25:
        text += pick(rng, CLOSERS)
    if rng.random() < 0.8:
        text = contract(text)
    if rng.random() < 0.2:
        text = text.lower()
    return capitalise(text) if rng.random() < 0.5 and not text.islower() else text


def keep_or_lower_first(text: str) -> str:
    """The text with a small first letter, unless its first word is a name or `I`."""
    first = re.split(r"\W", text, maxsplit=1)[0]
    names = ("I", "Mexican", "Mexicans", "Arab", "Arabs", "Iranian", "Iranians", "Syrian", "Syrians")
    return text if first in names else text[:1].lower() + text[1:]
