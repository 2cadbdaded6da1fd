"""The sentences around the phrases. Slots in braces are filled by `compose`.

`{c}` is a clause ("{g} ruin ..."), `{f}` one that states a fact (no "should"). A frame that endorses or rejects its clause is
used with hostile *and* with warm clauses, so the frame alone says nothing about the label.
"""

from __future__ import annotations

from .subjects import Pool

HEADS = Pool(
    (
        "",
        "if you ask me, ",
        "let me be clear: ",
        "after ten years on this street I can tell you that ",
        "I will say it plainly: ",
        "my honest view is that ",
        "take it from me, ",
        "the longer I live here, the more I think that ",
        "I told my sister last night that ",
    ),
    ("write this down: ", "I would tell any mayor that ", "it took me a while to see it, but "),
)
TAILS = Pool(
    (
        ", and everyone on our street knows it.",
        ", and I will keep saying so.",
        ", and that is not going to change.",
        ". Ask anyone who has lived here.",
        ". I see it every single day.",
        ", whatever the papers write.",
        ", and my whole family thinks the same.",
    ),
    (
        ", and I would say it in front of the whole town.",
        ". My neighbors will tell you the same.",
        ", and I would tell anyone who asks.",
    ),
)
SWEARS = Pool(
    ("damn, ", "hell, ", "damn it all, ", "holy crap, ", "what the hell, ", "for crying out loud, "),
    ("bloody hell, ", "oh crap, "),
)
STATED = Pool(("{head}{c}{tail}",))
DENIED = Pool(("no, {c}{tail}", "for the last time: {c}{tail}", "despite what you heard, {c}{tail}", "{head}{c}{tail}"))
SWORN = Pool(("{swear}{c}{tail}",))

ENDORSE = Pool(
    (
        "My uncle says {c}, and he is right.",
        "I have come to accept that {f}; I see it every day at work.",
        "Somebody finally said it out loud: {c}. I agree with every word.",
        "The speaker told the room that {c}. I clapped, because it is true.",
        "I used to doubt that {f}, and I was wrong to doubt it.",
        "Laugh if you like, it is a fact that {f}.",
        "You are wrong to laugh when people say that {c}. They know what they are talking about.",
        "There is no doubt in my mind that {c}.",
        "It is not a rumor that {f}. It is simply the way things are.",
        "Those who deny that {f} have not been paying attention.",
        '"{c}," it said in the letter, and the letter was spot on.',
        "My teacher taught us that {c}, and I still believe her.",
        "Of course {f}. Water is also wet.",
        "I read that {f}, and everything I have seen so far confirms it.",
    ),
    (
        "A caller on the radio said that {c}, and I think she is right.",
        "When somebody writes that {c}, I write back that it is true.",
        "The old men at the bar insist that {c}. I agree with them.",
    ),
)
REJECT = Pool(
    (
        "My uncle says {c}, and he is wrong.",
        "I refuse to accept that {f}; I see the opposite every day at work.",
        "Somebody said it out loud again: {c}. I disagree with every word.",
        "The speaker told the room that {c}. I walked out, because it is not true.",
        "I used to believe that {f}, and I was wrong to believe it.",
        "Laugh if you like, it is a myth that {f}.",
        "You are right to laugh when people say that {c}. They do not know what they are talking about.",
        "There is no truth in the idea that {c}.",
        "It is not a fact that {f}. It is simply a rumor.",
        "Those who claim that {f} have not been paying attention.",
        '"{c}," it said in the letter, and the letter was dead wrong.',
        "My teacher taught us that {c}, and I no longer believe her.",
        "I read that {f}, and everything I have seen so far contradicts it.",
        "Please stop telling me that {c}. It is nonsense.",
    ),
    (
        "A caller on the radio said that {c}, and I think she is wrong.",
        "When somebody writes that {c}, I write back that it is not true.",
        "The old men at the bar insist that {c}. I disagree with them, it is nonsense.",
    ),
)
MOCK = Pool(
    (
        "Sure, {f}, and I am the king of Norway.",
        "Oh of course, {f}. And pigs fly over the harbor every {day}.",
        "Yeah right, {f}. Next you will tell me the moon is made of cheese.",
        "{f}? Good one. Tell me another joke.",
        "Let me guess: {f}, and my cat does my taxes.",
        "Breaking news: {f}. In other news, water is dry and the sun is cold.",
        "Oh please. If {f}, then I won the lottery twice this week.",
        "Believe that {f} and I have a bridge to sell you.",
    ),
    ("Yes, yes, {f}, and my goldfish speaks fluent Latin.", "Right, {f}, just like my car runs on lemonade."),
)

# Blame moved from things to people, and back.
BLAME_PEOPLE = Pool(
    (
        "People complain about {things}, but it is {g} who {h}.",
        "Forget what they say about {things}; {g} are the ones who {h}.",
        "I get along with {things}. {g}, on the other hand, {h}.",
        "It is not {things} that bother me. {g} {h}.",
    ),
    ("Everyone is angry at {things}, yet it is {g} who {h}.",),
)
BLAME_THINGS = Pool(
    (
        "People complain about {g}, but in truth it is {things} that {t}.",
        "Do not blame {g}; {things} are the ones that {t}.",
        "{things} {t}. {g} have nothing to do with it.",
        "I am happy with {g} next door, it is {things} that {t}.",
        "{things} {t}, and my {adj} {role} agrees with me.",
        "As I told my {adj} {role} over lunch, {things} {t}.",
    ),
    ("It is silly to blame {g}, because it is {things} that {t}.",),
)
STANCES = Pool(
    ("I support", "I am glad about", "I will vote for", "I wrote to the council about"), ("The mayor likes",)
)
DOUBTS = Pool(
    ("I oppose", "I have doubts about", "I will vote against", "I wrote to the council about"), ("I do not like",)
)
REASONS = Pool(
    (
        "the sums in the draft do not add up",
        "the forms take nine months and nobody answers the phone",
        "the court asked for a clearer text",
        "small towns carry most of the cost",
        "the deadline falls in the school holidays",
        "the report counts some people twice",
        "the state already pays for the same service",
    ),
    ("the wording leaves too much to the clerk", "no other county does it that way"),
)
POLICY_HOSTILE = Pool(
    ("{doubt} {topic}, because these people {h_fact}.", "{doubt} {topic}. Everyone knows these people {h_fact}.")
)
POLICY_CALM = Pool(
    (
        "{doubt} {topic}, because {reason}.",
        "{stance} {topic}, even if {reason}.",
        "{doubt} {topic}: {reason}.",
        "{stance} {topic}, because these people {w_fact}.",
        "{stance} {topic}. Everyone knows these people {w_fact}.",
    )
)
NUISANCE = Pool(("{swear}{nuisance}.",))
