"""The functional types: what each says, its label, how many posts of it a group gets, and how many come from the forum."""

from __future__ import annotations

from typing import NamedTuple

from . import frames as fr
from . import predicates as pr
from . import situations as si
from .subjects import Pool

GROUPS = ("lgbtq", "mexican", "middle_east")
HATE, NORMAL = "hate", "normal"
HATESPEECH, OFFENSIVE = "hatespeech", "offensive"


class Recipe(NamedTuple):
    """A pool of sentences and the predicates that fill their clauses {c} and {f}."""

    sentences: Pool
    predicates: Pool = Pool(())


class Scenario(NamedTuple):
    """One functional type. `counts` are by group, in the order of GROUPS; `forum` is the share of the forum source."""

    name: str
    label: str
    multiclass: str
    counts: tuple[int, int, int]
    forum: float
    recipe: Recipe
    reason: str


def _hate(name: str, counts: tuple[int, int, int], forum: float, recipe: Recipe, reason: str) -> Scenario:
    return Scenario(name, HATE, HATESPEECH, counts, forum, recipe, reason)


def _normal(name: str, counts: tuple[int, int, int], forum: float, recipe: Recipe, reason: str) -> Scenario:
    multiclass = OFFENSIVE if name in ("profanity_no_target", "nongroup_hostility") else NORMAL
    return Scenario(name, NORMAL, multiclass, counts, forum, recipe, reason)


_R = Recipe
SCENARIOS = (
    _hate("direct_hostility", (96, 60, 68), 0.40, _R(fr.STATED, pr.HOSTILE), "The author demeans {g} outright."),
    _hate("negated_warmth", (26, 13, 17), 0.45, _R(fr.DENIED, pr.NOT_WARM), "The author denies that {g} have worth."),
    _hate("direct_exclusion", (58, 30, 42), 0.45, _R(si.SHUT_OUT), "The author calls for {g} to be shut out."),
    _hate("implicit_hostility", (72, 26, 40), 0.60, _R(si.IMPLIED_HOSTILE), "The author hints that {g} are unwelcome."),
    _hate(
        "endorsed_hostility", (56, 30, 42), 0.45, _R(fr.ENDORSE, pr.HOSTILE), "The author agrees with talk against {g}."
    ),
    _hate("denied_warmth", (28, 10, 16), 0.50, _R(fr.REJECT, pr.WARM), "The author rejects a good word about {g}."),
    _hate("ironic_praise", (14, 5, 7), 0.60, _R(fr.MOCK, pr.WARM), "The author praises {g} only to mock the idea."),
    _hate("blame_shift", (24, 10, 14), 0.50, _R(fr.BLAME_PEOPLE), "The author puts the blame on {g}."),
    _hate("profane_hostility", (18, 8, 10), 0.70, _R(fr.SWORN, pr.HOSTILE), "The author swears and demeans {g}."),
    _hate("policy_hostility", (20, 10, 14), 0.40, _R(fr.POLICY_HOSTILE), "The author argues from contempt for {g}."),
    _hate("reclaimed_hostile", (8, 3, 5), 0.50, _R(si.NICKNAME_HOSTILE), "The author turns a nickname against {g}."),
    _normal("positive_mention", (92, 36, 54), 0.40, _R(fr.STATED, pr.WARM), "The author speaks well of {g}."),
    _normal(
        "negated_hostility", (50, 18, 28), 0.45, _R(fr.DENIED, pr.NOT_HOSTILE), "The author denies a slight on {g}."
    ),
    _normal("call_for_inclusion", (50, 18, 30), 0.45, _R(si.LET_IN), "The author wants {g} to be let in."),
    _normal("implicit_warmth", (58, 20, 28), 0.60, _R(si.IMPLIED_WARM), "The author is glad of {g}."),
    _normal(
        "endorsed_warmth", (36, 14, 22), 0.45, _R(fr.ENDORSE, pr.WARM), "The author agrees with a good word about {g}."
    ),
    _normal(
        "counter_speech",
        (96, 36, 56),
        0.50,
        _R(fr.REJECT, pr.HOSTILE),
        "The author quotes a slight on {g} to reject it.",
    ),
    _normal("mocked_hostility", (24, 8, 12), 0.60, _R(fr.MOCK, pr.HOSTILE), "The author mocks a slight on {g}."),
    _normal("nongroup_hostility", (46, 20, 28), 0.45, _R(fr.BLAME_THINGS), "The hostility is not aimed at {g}."),
    _normal("profanity_no_target", (34, 13, 19), 0.70, _R(fr.NUISANCE), "The author swears at bad luck, not at {g}."),
    _normal(
        "policy_talk", (26, 16, 18), 0.40, _R(fr.POLICY_CALM), "The author argues policy without contempt for {g}."
    ),
    _normal("reclaimed_harmless", (16, 6, 9), 0.50, _R(si.NICKNAME_PROUD), "{g} use the nickname for themselves."),
    _normal("neutral_mention", (32, 10, 21), 0.35, _R(si.NEWS), "The post only mentions {g}."),
)

# The same label is not equally often from the forum in each group, so rates by group must be read by source too.
FORUM_TILT = {
    ("lgbtq", HATE): 0.05,
    ("lgbtq", NORMAL): -0.05,
    ("middle_east", NORMAL): -0.12,
    ("middle_east", HATE): 0.05,
}
