"""Whole sentences in pairs: the same opening, once with a hostile end and once with a friendly or neutral one."""

from __future__ import annotations

from .subjects import Pool

# (opening, hostile end, friendly end): hostility without a hostile predicate.
_IMPLIED = (
    (
        "Ever since {g} opened a shop on our street, ",
        "I lock the car twice and cross to the other side.",
        "I walk over twice a week and stay for coffee.",
    ),
    (
        "I have nothing against {g}, ",
        "I just would not want any of them to look after my kids.",
        "and I would be happy to have any of them look after my kids.",
    ),
    (
        "Funny how {place} got so much nicer ",
        "the week {g} stopped coming there.",
        "the week {g} started coming there.",
    ),
    (
        "We chose this street because ",
        "hardly any {g} live here, and we hope it stays that way.",
        "so many {g} live here, and we hope it stays that way.",
    ),
    (
        "When {g} sit down at the next table, ",
        "I lose my appetite and ask for the bill.",
        "I pull up a chair and ask how they have been.",
    ),
    (
        "Whenever {g} are behind the counter, ",
        "I count my change twice and hold on to my bag.",
        "I know I will get the right change and a smile.",
    ),
    (
        "The flat upstairs is free again, and I told the agent ",
        "not to bother showing it to {g}.",
        "to be sure to show it to {g} as well.",
    ),
    (
        "My daughter may bring home anyone she likes, ",
        "{g} excepted, and we will not discuss it.",
        "{g} included, and we will set another plate.",
    ),
    (
        "My group at {place} was put together with {g}, ",
        "so I asked for my money back.",
        "so I asked them all over for dinner.",
    ),
    (
        "There was a time when you could walk through {place} ",
        "without running into {g}. I miss those days.",
        "without ever meeting {g}. I do not miss those days.",
    ),
    (
        "I heard that {g} are moving in next door. ",
        "There goes the neighborhood.",
        "I am already baking bread for them.",
    ),
    (
        "The school hired {g} this year. ",
        "I am taking my son out of it.",
        "I am glad my son will have them.",
    ),
    (
        "You can always tell when {g} have been at {place}: ",
        "check your pockets.",
        "everything is tidy and people are smiling.",
    ),
    (
        "I would hire {g} ",
        "if I wanted the till to come up short every evening.",
        "again tomorrow, the till was right every evening.",
    ),
    (
        "One evening with {g} at {place} ",
        "was one too many for me.",
        "was not nearly enough for me.",
    ),
    (
        "We used to leave our doors open on this street. ",
        "Then {g} arrived, and now we lock them.",
        "Then {g} arrived, and we still do.",
    ),
    (
        "My {adj} {role} is pleasant enough, ",
        "but I would not want more of them around.",
        "and I would not mind more of them around.",
    ),
)
_IMPLIED_HELD = (
    (
        "If {g} run the festival this year, ",
        "count me and my family out.",
        "count me and my family in.",
    ),
    (
        "The day I learned that {g} work at my clinic, ",
        "I was disgusted and went elsewhere.",
        "I was delighted and went there more often.",
    ),
    (
        "I do not mind {g} in films, ",
        "as long as I never have to meet them at {place}.",
        "and I like to meet them at {place} just as much.",
    ),
    (
        "They sat me next to {g} at lunch, ",
        "so I took my plate and left in disgust.",
        "so I took my cake and shared it with them.",
    ),
    (
        "They let {g} into our choir, and suddenly ",
        "nobody wants to sing with us anymore.",
        "everybody wants to sing with us.",
    ),
)

# (a call to shut people out, the same call to let them in).
_CALLS = (
    (
        "Sign the petition to keep {g} out of {place} by {day}.",
        "Sign the petition to keep {place} open to {g} by {day}.",
    ),
    (
        "{place} would be better off without {g}, as I said on {day}.",
        "{place} would be worse off without {g}, as I said on {day}.",
    ),
    (
        "Fewer {g} at {place}, that is all I ask of the new council.",
        "More {g} at {place}, that is all I ask of the new council.",
    ),
    (
        "I voted for the one candidate who wants {g} gone from {place}.",
        "I voted for the one candidate who wants {g} safe at {place}.",
    ),
    (
        "Whoever let {g} into {place} made a mistake, and we should undo it.",
        "Whoever shut {g} out of {place} made a mistake, and we should undo it.",
    ),
    (
        "There should be a sign at {place} that says: no {g} beyond this point.",
        "There should be a sign at {place} that says: {g} are welcome beyond this point.",
    ),
    (
        "I will not come back to {place} until {g} are banned from it.",
        "I will not come back to {place} until {g} are allowed back in.",
    ),
    (
        "{g} should swim, eat and shop elsewhere, and not come to {place}.",
        "{g} should swim, eat and shop where they like, and that includes {place}.",
    ),
    (
        "We need a rule that keeps {g} away from {place} for good.",
        "We need a rule that keeps {g} safe at {place} for good.",
    ),
    (
        "If {place} wants my money, it has to turn {g} away.",
        "If {place} wants my money, it has to stop turning {g} away.",
    ),
)
_CALLS_HELD = (
    (
        "Tell {g} that they are not wanted at {place}, and ask them to go.",
        "Tell {g} that they are wanted at {place}, and ask them to stay.",
    ),
    (
        "Our club should throw {g} out before {day}, and I will vote for that.",
        "Our club should invite {g} in before {day}, and I will vote for that.",
    ),
    (
        "Do not rent to {g}, do not hire them, do not invite them to {place}.",
        "Do rent to {g}, do hire them, do invite them to {place}.",
    ),
)

# (opening, hostile end, friendly end) around a nickname that a group may have chosen for itself.
_NICKNAMES = (
    ("The {adj} {nick} crowd is at {place} again, ", "and as always they {h_fact}.", "and I am proud to be one of us."),
    (
        "Here comes the {adj} {nick} crowd. ",
        "They {h_fact}, every last one.",
        "We picked that name ourselves and we love it.",
    ),
    (
        "On {day} it is {nick} night at {place}, ",
        "one more night when {g} {h_fact}.",
        "which is what my {adj} friends and I call our dinner.",
    ),
    ("Look who is at {place}, the {adj} {nick} crew. ", "They {h}.", "Those are my best friends and I am one of them."),
)
_NICKNAMES_HELD = (
    (
        "Say hello to the {adj} {nick} club. ",
        "They {h_fact}, so hide your lunch.",
        "We printed the name on our shirts and wear it with pride.",
    ),
)


def _ends(seen: tuple[tuple[str, ...], ...], held: tuple[tuple[str, ...], ...], end: int) -> Pool:
    """The sentences of one side: all openings with their end number `end`."""
    return Pool(tuple(s[0] + s[end] for s in seen), tuple(s[0] + s[end] for s in held))


IMPLIED_HOSTILE, IMPLIED_WARM = (_ends(_IMPLIED, _IMPLIED_HELD, end) for end in (1, 2))
NICKNAME_HOSTILE, NICKNAME_PROUD = (_ends(_NICKNAMES, _NICKNAMES_HELD, end) for end in (1, 2))
SHUT_OUT, LET_IN = (Pool(tuple(c[i] for c in _CALLS), tuple(c[i] for c in _CALLS_HELD)) for i in (0, 1))

NEWS = Pool(
    (
        "The town paper reports that {g} rented the hall next to {place} for {day}.",
        "{g} were among the two hundred people who filled in the survey on {day}.",
        "The survey asked {g} how long they wait for the bus to {place}.",
        "A small museum near {place} shows photographs of {g} from the seventies.",
        "The article compares how often {g} and other residents visit {place}.",
        "My {adj} {role} is moving to another city on {day} and sells a sofa.",
        "Our {adj} {role} asked whether {place} is open on {day}.",
        "According to the census table, {g} live mostly in the district around {place}.",
        "The new novel is about {g} who share a house near {place}.",
    ),
    (
        "A documentary about {g} runs at the cinema near {place} until {day}.",
        "The minutes note that {g} asked for the key to {place} on {day}.",
    ),
)
