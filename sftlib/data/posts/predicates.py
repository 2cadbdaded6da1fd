"""What posts say about people: hostile and warm verb phrases that mirror each other word by word where English allows.

The mirroring keeps single words from giving the label away. A warm phrase is one whose *denial* demeans (trust, belonging,
rights), so that "it is a myth that they ..." is hostile without doubt.
"""

from __future__ import annotations

from .subjects import Pool

HOSTILE = Pool(
    (
        "ruin every neighborhood they move into",
        "cannot be trusted with anything important",
        "do not belong in this town",
        "make bad neighbors and worse friends",
        "only ever think about themselves",
        "are a burden on the rest of us",
        "have no business raising children",
        "bring nothing but trouble",
        "deserve fewer rights than the rest of us",
        "are making this country worse",
        "lie whenever it suits them",
        "should keep away from our schools",
        "have no place on our team",
        "never do an honest day of work",
        "do not deserve a seat at our table",
        "take far more than they give",
        "spoil the mood wherever they show up",
        "are worth less than other people",
        "have nothing good to teach anyone",
        "should be kept out of public office",
        "drag every workplace down",
        "do not deserve our respect",
        "make careless and selfish parents",
        "should stay out of our parks and pools",
        "are dirty and rude",
        "expect favors and earn none of them",
        "are dangerous to have around",
        "should never move in next door",
        "have no manners and no morals",
        "are a threat to families like ours",
        "weaken every community that takes them in",
        "are too dishonest to do business with",
    ),
    (
        "turn every good street into a bad one",
        "should be the last ones hired anywhere",
        "are not fit to look after a child",
        "care about nobody but their own",
        "cheat their way through life",
        "should be turned away at the door",
        "are an embarrassment to the whole city",
        "do not deserve the help they get",
        "make terrible coaches and worse teachers",
        "are beneath the rest of us",
    ),
)

WARM = Pool(
    (
        "are good for the neighborhoods they move into",
        "can be trusted with anything important",
        "belong in this town",
        "make good neighbors and better friends",
        "think about others as much as anyone does",
        "are a blessing to the rest of us",
        "do a fine job raising children",
        "bring something good to this town",
        "deserve the same rights as the rest of us",
        "are making this country better",
        "tell the truth as often as anyone",
        "should feel welcome in our schools",
        "have a place on our team",
        "do an honest day of work",
        "deserve a seat at our table",
        "give at least as much as they take",
        "are good company wherever they show up",
        "are worth as much as other people",
        "have a lot of good things to teach",
        "should be trusted with public office",
        "make our workplaces better",
        "deserve our respect",
        "make patient and loving parents",
        "should be welcome in our parks and pools",
        "are kind and polite",
        "earn what they get",
        "are good to have around",
        "should feel free to move in next door",
        "have good manners and good morals",
        "are a help to families like ours",
        "strengthen every community that takes them in",
        "are honest people to do business with",
    ),
    (
        "turn a bad street into a good one",
        "should be hired as gladly as anyone",
        "are fit to look after any child",
        "care about the people around them",
        "work hard for what they have",
        "should be greeted at the door like anyone",
        "are a credit to the whole city",
        "deserve the help they get",
        "make great coaches and better teachers",
        "are the equals of the rest of us",
    ),
)

NOT_HOSTILE = Pool(
    (
        "do not ruin the neighborhoods they move into",
        "do not make bad neighbors",
        "are not a burden on the rest of us",
        "are not making this country worse",
        "do not lie any more than you or I do",
        "do not take more than they give",
        "do not spoil the mood anywhere",
        "are not worth less than other people",
        "are not dirty or rude",
        "are not dangerous to have around",
        "are not a threat to families like ours",
        "do not bring us any trouble",
        "should not have to keep away from our schools",
    ),
    (
        "do not cheat their way through life",
        "are not an embarrassment to the city",
        "should not be turned away at the door",
    ),
)

NOT_WARM = Pool(
    (
        "are not good for the neighborhoods they move into",
        "do not make good neighbors",
        "are not a blessing to the rest of us",
        "are not making this country better",
        "do not tell the truth the way you or I do",
        "do not give as much as they take",
        "are not good company anywhere",
        "are not worth as much as other people",
        "are not kind or polite",
        "are not good to have around",
        "are not a help to families like ours",
        "do not bring us anything good",
        "should not feel welcome in our schools",
    ),
    (
        "do not work hard for what they have",
        "are not a credit to the city",
        "should not be greeted at the door",
    ),
)

# The hostile phrases that one can also say of a printer or a football team.
OF_THINGS = Pool(
    (
        "ruin every neighborhood they move into",
        "cannot be trusted with anything important",
        "do not belong in this town",
        "are a burden on the rest of us",
        "bring nothing but trouble",
        "are making this country worse",
        "should keep away from our schools",
        "take far more than they give",
        "spoil the mood wherever they show up",
        "drag every workplace down",
        "do not deserve our respect",
        "should stay out of our parks and pools",
        "are dangerous to have around",
        "are a threat to families like ours",
    ),
    ("turn every good street into a bad one", "are an embarrassment to the whole city"),
)


def without_should(pool: Pool) -> Pool:
    """The phrases that state a fact: "it is a myth that they should ..." is not English."""
    return Pool(*(tuple(phrase for phrase in part if not phrase.startswith("should")) for part in pool))
