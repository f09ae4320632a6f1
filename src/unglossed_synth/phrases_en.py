"""English words of the forecasts, each with its weight among the ways to say the same.

Lower case, numbers as words. The word order is in `english`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unglossed_synth.phrasebook import Lexicon, Options, enter

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS: dict[str, Options] = {
    "today": {"today": 1},
    "tomorrow": {"tomorrow": 1},
    "day_after_tomorrow": {"the day after tomorrow": 1},
    **{day: {f"on {day}": 1} for day in WEEKDAYS},
    "weekend": {"at the weekend": 8, "over the weekend": 2},
}
DAYPARTS: dict[str, Options] = {
    "morning": {"in the morning": 1},
    "noon": {"at noon": 8, "around midday": 2},
    "afternoon": {"in the afternoon": 1},
    "evening": {"in the evening": 1},
    "night": {"at night": 7, "during the night": 3},
}
_TODAY: dict[str, Options] = {
    "morning": {"this morning": 1},
    "noon": {"today at noon": 8, "around midday today": 2},
    "afternoon": {"this afternoon": 1},
    "evening": {"this evening": 1},
    "night": {"tonight": 1},
}
LATER: dict[str, Options] = {
    "morning": {"towards morning": 8, "later in the morning": 2},
    "noon": {"towards noon": 8, "later at noon": 2},
    "afternoon": {"later in the afternoon": 8, "from the afternoon on": 2},
    "evening": {"towards evening": 8, "later in the evening": 2},
    "night": {"later at night": 8, "later during the night": 2},
}


def _compass(noun: str) -> Options:
    return {f"in the {noun}": 16, f"in {noun}ern areas": 2, f"in the {noun}ern regions": 1}


PLACES: dict[str, Options] = {
    **{
        direction: _compass(direction)
        for direction in (
            "north",
            "northeast",
            "east",
            "southeast",
            "south",
            "southwest",
            "west",
            "northwest",
        )
    },
    "center": {"in the center": 16, "in central areas": 2, "in the central regions": 1},
    "coast": {"on the coast": 7, "along the coast": 3},
    "mountains": {"in the mountains": 8, "in mountain areas": 2},
    "north_sea": {"on the north sea": 8, "on the north sea coast": 2},
    "baltic_sea": {"on the baltic sea": 8, "on the baltic coast": 2},
    "rhine": {"on the rhine": 7, "along the rhine": 3},
    "danube": {"on the danube": 7, "along the danube": 3},
    "bavaria": {"in bavaria": 1},
    "everywhere": {"everywhere": 7, "across the country": 2, "nationwide": 1},
}


@dataclass(frozen=True)
class Predicate:
    """A clause with {will} for the verb of time and certainty, {np} and {adv} for the phenomenon.

    A predicate that is `plain_only` cannot tell an intensity.
    """

    text: str
    weight: float
    plain_only: bool = False


@dataclass(frozen=True)
class Wording:
    """All that English has to say of one phenomenon."""

    nouns: Options
    predicates: tuple[Predicate, ...]
    adjectives: dict[str, Options] = field(default_factory=dict)
    adverbs: dict[str, Options] = field(default_factory=dict)
    negative: Options = field(default_factory=dict)
    words: tuple[str, ...] = ()


_THERE = Predicate("there {will} be {np}", 5)
_AMOUNT: dict[str, Options] = {
    "light": {"light": 1},
    "heavy": {"heavy": 8, "intense": 2},
}
_ADVERBS: dict[str, Options] = {
    "light": {"lightly": 7, "a little": 3},
    "heavy": {"heavily": 8, "hard": 2},
}

WORDINGS: dict[str, Wording] = {
    "rain": Wording(
        {"rain": 1},
        (Predicate("it {will} rain {adv}", 8), _THERE),
        _AMOUNT,
        _ADVERBS,
        {"it {will} not rain": 1},
    ),
    "snow": Wording(
        {"snow": 9, "snowfall": 1},
        (Predicate("it {will} snow {adv}", 8), _THERE),
        _AMOUNT,
        _ADVERBS,
        {"it {will} not snow": 1},
    ),
    "sun": Wording(
        {"sunshine": 8, "sun": 2},
        (
            Predicate("the sun {will} shine {adv}", 10),
            Predicate("it {will} be sunny", 5, plain_only=True),
            Predicate("there {will} be {np}", 4),
        ),
        {"light": {"some": 7, "a little": 3}, "heavy": {"plenty of": 7, "lots of": 3}},
        {"light": {"at times": 1}, "heavy": {"for hours": 1}},
        {"the sun {will} not shine": 1},
        words=("sunny",),
    ),
    "clouds": Wording(
        {"clouds": 1},
        (
            Predicate("it {will} be {adv} cloudy", 10),
            _THERE,
            Predicate("{np} {will} move through", 2),
        ),
        {"light": {"a few": 7, "scattered": 3}, "heavy": {"thick": 7, "dense": 3}},
        {"light": {"partly": 7, "slightly": 3}, "heavy": {"very": 1}},
        {"it {will} not be cloudy": 1},
        words=("cloudy",),
    ),
    "fog": Wording(
        {"fog": 1},
        (
            Predicate("there {will} be {np}", 9),
            Predicate("{np} {will} form", 4),
            Predicate("it {will} be foggy", 4, plain_only=True),
        ),
        {"light": {"light": 6, "thin": 4}, "heavy": {"dense": 7, "thick": 3}},
        {},
        {"it {will} not be foggy": 1},
        words=("foggy",),
    ),
    "wind": Wording(
        {"wind": 8, "winds": 2},
        (
            Predicate("there {will} be {np}", 9),
            Predicate("it {will} be windy", 5, plain_only=True),
        ),
        {"light": {"light": 7, "weak": 3}, "heavy": {"strong": 1}},
        {},
        {"it {will} not be windy": 1},
        words=("windy",),
    ),
    "storm": Wording(
        {"storms": 1},
        (
            Predicate("there {will} be {np}", 9),
            Predicate("it {will} be stormy", 7, plain_only=True),
        ),
        {"heavy": {"severe": 7, "violent": 3}},
        {},
        {"it {will} not be stormy": 1},
        words=("stormy", "storm"),
    ),
    "thunderstorm": Wording(
        {"thunderstorms": 1},
        (Predicate("there {will} be {np}", 10), Predicate("{np} {will} develop", 4)),
        {"light": {"light": 6, "isolated": 4}, "heavy": {"heavy": 6, "severe": 4}},
        words=("thunderstorm",),
    ),
    "frost": Wording(
        {"frost": 1},
        (
            Predicate("there {will} be {np}", 10),
            Predicate("it {will} be frosty", 4, plain_only=True),
        ),
        {"light": {"light": 7, "slight": 3}, "heavy": {"hard": 6, "severe": 4}},
        words=("frosty",),
    ),
    "hail": Wording(
        {"hail": 1},
        (Predicate("it {will} hail {adv}", 6), _THERE),
        {"heavy": {"heavy": 1}},
        {"heavy": {"heavily": 1}},
    ),
    "showers": Wording(
        {"showers": 9, "rain showers": 1},
        (Predicate("there {will} be {np}", 10), Predicate("{np} {will} pass through", 3)),
        {"light": {"light": 7, "isolated": 3}, "heavy": {"heavy": 1}},
    ),
    "drizzle": Wording(
        {"drizzle": 1},
        (Predicate("it {will} drizzle", 6), Predicate("there {will} be {np}", 4)),
    ),
    "ice": Wording(
        {"ice": 6, "black ice": 4},
        (Predicate("there {will} be {np}", 6), Predicate("{np} {will} form", 4)),
        {"light": {"patchy": 1}, "heavy": {"severe": 1}},
    ),
    "clear": Wording(
        {"clear skies": 1},
        (
            Predicate("it {will} be clear", 6),
            Predicate("it {will} stay clear", 2),
            Predicate("skies {will} be clear", 2),
        ),
        words=("clear",),
    ),
}

WILL: dict[str, Options] = {
    "": {"will": 1},
    "possible": {"may": 7, "could": 3},
    "likely": {"will probably": 7, "will likely": 3},
}
CERTAINTY_WORDS = {
    "possible": ("may", "could", "possibly"),
    "likely": ("probably", "likely"),
}
MAYBE = {"possible": "possibly", "likely": "probably"}
SPREADING: Options = {"spread": 8, "become more widespread": 2}
EASING: Options = {"ease": 8, "let up": 2}
TEMPERATURE_VERBS: dict[str, Options] = {
    "rising": {"rise to": 8, "climb to": 2},
    "falling": {"fall to": 8, "drop to": 2},
}
COMPARISON: dict[str, Options] = {
    "warmer": {"warmer": 8, "milder": 2},
    "colder": {"colder": 8, "cooler": 2},
    "wetter": {"wetter": 8, "damper": 2},
    "drier": {"drier": 1},
    "windier": {"windier": 8, "breezier": 2},
}
YESTERDAY = "yesterday"
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = {2: "twenty", 3: "thirty"}


def number(degrees: int) -> str:
    """A temperature as words, without "degrees": 21 is "twenty-one", -5 "minus five"."""
    if degrees < 0:
        return f"minus {number(-degrees)}"
    if degrees < len(_ONES):
        return _ONES[degrees]
    tens, ones = divmod(degrees, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def unit(degrees: int) -> str:
    """The word after a number of degrees: one degree, minus one degree, two degrees."""
    return "degree" if abs(degrees) == 1 else "degrees"


def time_phrases(day: str, daypart: str) -> Options:
    """One phrase for a day and its part; the night of a weekday is the one that leads to it."""
    if day == "today":
        return _TODAY[daypart]
    if day in WEEKDAYS and daypart == "night":
        return {f"overnight into {day}": 8, f"in the night to {day}": 2}
    name = next(iter(DAYS[day]))
    if day == "day_after_tomorrow" or daypart == "noon":
        return {f"{name} {phrase}": weight for phrase, weight in DAYPARTS[daypart].items()}
    return {f"{name} {daypart}": 1}


def lexicon() -> Lexicon:
    """Every word and phrase above with the slots that it fills, for parsing."""
    words: Lexicon = {}
    function_words = frozenset("at on in the over along across during around".split())
    for slot, table in (("day", DAYS), ("place", PLACES)):
        for value, options in table.items():
            enter(words, options, ((slot, value),), function_words)
    for day in DAYS:
        for part in () if day == "weekend" else DAYPARTS:
            enter(words, time_phrases(day, part), (("day", day), ("daypart", part)))
    for part, options in DAYPARTS.items():
        enter(words, options, (("daypart", part),), function_words)
        enter(words, LATER[part], (("later", part),))
    for phenomenon, wording in WORDINGS.items():
        enter(words, [*wording.nouns, *wording.words], (("phenomenon", phenomenon),))
        for by_intensity in (wording.adjectives, wording.adverbs):
            for intensity, options in by_intensity.items():
                enter(words, options, (("intensity", intensity),))
    enter(words, ("no", "not"), (("negated", "yes"),))
    for certainty, adverbs in CERTAINTY_WORDS.items():
        enter(words, adverbs, (("certainty", certainty),))
    enter(words, SPREADING, (("change", "spreading"),))
    enter(words, EASING, (("change", "easing"),))
    for change, options in TEMPERATURE_VERBS.items():
        enter(words, [verb.removesuffix(" to") for verb in options], (("change", change),))
    for comparison, options in COMPARISON.items():
        enter(words, options, (("comparison", comparison),))
    enter(words, ("than", "compared with"), (("mark", "compared"),))
    enter(words, ("followed by", "later", "towards"), (("mark", "later"),))
    enter(words, (YESTERDAY,), (("day", "yesterday"),))
    for degrees in range(-25, 40):
        enter(words, (number(degrees),), (("number", str(degrees)),))
        if degrees < 0:
            below = f"{number(-degrees)} {unit(degrees)} below zero"
            enter(words, (below,), (("number", str(degrees)),))
    return words
