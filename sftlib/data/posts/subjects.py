"""Whom and what the posts speak of: groups with their personas, and the places and things around them.

Each pool has a second part, `held`, that only the test split may use.
"""

from __future__ import annotations

from typing import NamedTuple


class Pool(NamedTuple):
    """Phrases for one slot: `seen` in every split, `held` in the test split only."""

    seen: tuple[str, ...]
    held: tuple[str, ...] = ()


class Persona(NamedTuple):
    """One finer tag within a group: plural names, an adjective for one person, and a friendly nickname."""

    tag: str
    plurals: tuple[str, ...]
    adjective: str
    nickname: str


PERSONAS = {
    "lgbtq": (
        Persona("gay", ("gay people", "gay men", "gay couples"), "gay", "rainbow"),
        Persona("lesbian", ("lesbians", "lesbian couples", "lesbian women"), "lesbian", "queer"),
        Persona("trans", ("trans people", "trans women", "transgender people"), "trans", "glitter"),
        Persona("bisexual", ("bisexual people", "bisexual men", "bi folks"), "bisexual", "queer"),
    ),
    "mexican": (
        Persona("mexican", ("Mexicans", "Mexican people", "people from Mexico"), "Mexican", "taco"),
        Persona("mexican_american", ("Mexican Americans", "Mexican American families"), "Chicano", "salsa"),
        Persona("mexican_immigrant", ("Mexican immigrants", "Mexican newcomers"), "Mexican", "taco"),
    ),
    "middle_east": (
        Persona("arab", ("Arabs", "Arab families", "Arab people"), "Arab", "hummus"),
        Persona("iranian", ("Iranians", "Iranian people", "Iranian students"), "Iranian", "saffron"),
        Persona("syrian", ("Syrians", "Syrian refugees", "Syrian families"), "Syrian", "falafel"),
        Persona("middle_eastern", ("people from the Middle East",), "Middle Eastern", "hummus"),
    ),
}

_LOCAL_PLANS = ("the language classes for {g}", "the advice center for {g}")
TOPICS = {
    "lgbtq": Pool(("the clinic budget for {g}", "the adoption rules for {g}", *_LOCAL_PLANS), ("the shelter for {g}",)),
    "mexican": Pool(
        ("the scholarships for {g}", "the bus passes for {g}", *_LOCAL_PLANS), ("the housing plan for {g}",)
    ),
    "middle_east": Pool(
        ("the travel permits for {g}", "the visa rules for {g}", *_LOCAL_PLANS), ("the housing plan for {g}",)
    ),
}

PLACES = Pool(
    (
        "the swimming pool",
        "the town library",
        "the farmers market",
        "the sports club",
        "the community center",
        "the corner bakery",
        "the city park",
        "the night school",
    ),
    ("the ice rink", "the town choir", "the allotment gardens"),
)
DAYS = Pool(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"))
ROLES = Pool(
    ("neighbor", "coworker", "dentist", "roommate", "cousin", "friend", "piano teacher"), ("barber", "chess partner")
)
THINGS = Pool(
    (
        "leaf blowers",
        "parking meters",
        "office printers",
        "slot machines",
        "delivery drones",
        "scam callers",
        "wasps",
        "landlords like mine",
        "the referees in our league",
        "the Rovers and their defenders",
        "car alarms",
    ),
    ("electric scooters", "door-to-door salesmen", "seagulls"),
)
NUISANCES = Pool(
    (
        "the bus was late again and my {adj} {role} and I missed the first half",
        "it is hot today, even my {adj} {role} has given up on the garden",
        "I locked my keys in the car and had to call my {adj} {role}",
        "my {adj} {role} and I burned the rice again on {day}",
        "the printer ate the tickets I bought for my {adj} {role}",
        "I slept through the alarm and kept my {adj} {role} waiting at {place}",
        "this crossword is hard, my {adj} {role} and I are stuck on the last row",
        "the queue at {place} is endless, I told my {adj} {role} to go home",
    ),
    (
        "my phone died while my {adj} {role} was giving me directions to {place}",
        "I lost the keys to {place} and my {adj} {role} is locked in",
    ),
)
