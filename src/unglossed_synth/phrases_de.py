"""German words of the forecasts, each with its weight among the ways to say the same.

Lower case, numbers as words, as in PHOENIX14T. The word order is in `german`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unglossed_synth.phrasebook import Events, Lexicon, Options, enter

DAYS: dict[str, Options] = {
    "today": {"heute": 1},
    "tomorrow": {"morgen": 1},
    "day_after_tomorrow": {"übermorgen": 1},
    "monday": {"am montag": 1},
    "tuesday": {"am dienstag": 1},
    "wednesday": {"am mittwoch": 1},
    "thursday": {"am donnerstag": 1},
    "friday": {"am freitag": 1},
    "saturday": {"am samstag": 9, "am sonnabend": 1},
    "sunday": {"am sonntag": 1},
    "weekend": {"am wochenende": 1},
}
DAYPARTS: dict[str, Options] = {
    "morning": {"am morgen": 7, "am vormittag": 3},
    "noon": {"am mittag": 8, "mittags": 2},
    "afternoon": {"am nachmittag": 9, "nachmittags": 1},
    "evening": {"am abend": 9, "abends": 1},
    "night": {"in der nacht": 9, "nachts": 1},
}
# What follows "heute", "morgen", "übermorgen", or is joined to the name of a weekday.
_AFTER_DAY: dict[str, Options] = {
    "morning": {"früh": 7, "vormittag": 3},
    "noon": {"mittag": 1},
    "afternoon": {"nachmittag": 1},
    "evening": {"abend": 1},
    "night": {"nacht": 1},
}
LATER: dict[str, Options] = {
    "morning": {"gegen morgen": 8, "zum morgen hin": 2},
    "noon": {"gegen mittag": 8, "später am mittag": 1, "zum mittag hin": 1},
    "afternoon": {"später am nachmittag": 8, "zum nachmittag hin": 2},
    "evening": {"gegen abend": 8, "später am abend": 1, "zum abend hin": 1},
    "night": {"später in der nacht": 8, "zur nacht hin": 2},
}


def _compass(noun: str, adjective: str) -> Options:
    return {f"im {noun}": 20, f"in den {adjective} regionen": 1, f"im {noun} deutschlands": 1}


PLACES: dict[str, Options] = {
    "north": {**_compass("norden", "nördlichen"), "in der nordhälfte": 1},
    "northeast": _compass("nordosten", "nordöstlichen"),
    "east": {**_compass("osten", "östlichen"), "in der osthälfte": 1},
    "southeast": _compass("südosten", "südöstlichen"),
    "south": {**_compass("süden", "südlichen"), "in der südhälfte": 1},
    "southwest": _compass("südwesten", "südwestlichen"),
    "west": {**_compass("westen", "westlichen"), "in der westhälfte": 1},
    "northwest": _compass("nordwesten", "nordwestlichen"),
    "center": {"in der mitte": 16, "in der mitte deutschlands": 1, "in der landesmitte": 1},
    "coast": {"an der küste": 7, "an den küsten": 3},
    "mountains": {"in den bergen": 7, "im bergland": 3},
    "north_sea": {"an der nordsee": 8, "an der nordseeküste": 2},
    "baltic_sea": {"an der ostsee": 8, "an der ostseeküste": 2},
    "rhine": {"am rhein": 8, "entlang des rheins": 2},
    "danube": {"an der donau": 8, "entlang der donau": 2},
    "bavaria": {"in bayern": 1},
    "everywhere": {"überall": 7, "im ganzen land": 2, "landesweit": 1},
}


@dataclass(frozen=True)
class Noun:
    """A noun with its gender ("m", "f", "n", "p" for plural) and the word in the dative."""

    word: str
    gender: str
    dative: str


@dataclass(frozen=True)
class Predicate:
    """A verb, its subject ("" where the tail holds it), and what stands at the end of the clause.

    In `tail`, {nom}, {acc} and {dat} are the phenomenon as a noun phrase in that case, {adv} is
    the intensity as an adverb. A predicate that is `plain_only` cannot tell an intensity.
    """

    verb: str
    subject: str
    tail: str
    weight: float
    plain_only: bool = False


@dataclass(frozen=True)
class Wording:
    """All that German has to say of one phenomenon."""

    nouns: dict[Noun, float]
    predicates: tuple[Predicate, ...]
    adjectives: dict[str, Options] = field(default_factory=dict)
    adverbs: dict[str, Options] = field(default_factory=dict)
    negative: tuple[Predicate, ...] = ()
    bare: Options = field(default_factory=dict)
    verb_words: tuple[str, ...] = ()


_STRENGTH: dict[str, Options] = {
    "light": {"leicht": 8, "schwach": 2},
    "heavy": {"stark": 7, "kräftig": 3},
}
_GIVES = Predicate("gibt", "es", "{acc}", 4)

WORDINGS: dict[str, Wording] = {
    "rain": Wording(
        {Noun("regen", "m", "regen"): 1},
        (Predicate("regnet", "es", "{adv}", 16), Predicate("fällt", "", "{nom}", 2), _GIVES),
        _STRENGTH,
        _STRENGTH,
        (Predicate("regnet", "es", "nicht", 1),),
        verb_words=("regnet", "regnen"),
    ),
    "snow": Wording(
        {Noun("schnee", "m", "schnee"): 8, Noun("schneefall", "m", "schneefall"): 2},
        (Predicate("schneit", "es", "{adv}", 14), Predicate("fällt", "", "{nom}", 4)),
        _STRENGTH,
        _STRENGTH,
        (Predicate("schneit", "es", "nicht", 1),),
        verb_words=("schneit", "schneien"),
    ),
    "sun": Wording(
        {Noun("sonne", "f", "sonne"): 8, Noun("sonnenschein", "m", "sonnenschein"): 2},
        (
            Predicate("scheint", "", "{adv} die sonne", 16),
            _GIVES,
            Predicate("ist", "es", "sonnig", 3, plain_only=True),
        ),
        {"light": {"etwas": 7, "wenig": 3}, "heavy": {"viel": 1}},
        {"light": {"zeitweise": 1}, "heavy": {"lange": 1}},
        (Predicate("scheint", "die sonne", "nicht", 1),),
        verb_words=("sonnig",),
    ),
    "clouds": Wording(
        {Noun("wolken", "p", "wolken"): 1},
        (
            Predicate("ist", "es", "{adv} bewölkt", 15),
            _GIVES,
            Predicate("ziehen", "", "{nom} durch", 3),
        ),
        {"light": {"einzeln": 3, "locker": 7}, "heavy": {"dicht": 7, "viel": 3}},
        {"light": {"leicht": 7, "locker": 3}, "heavy": {"stark": 1}},
        (Predicate("ist", "es", "nicht bewölkt", 1),),
        verb_words=("bewölkt",),
    ),
    "fog": Wording(
        {Noun("nebel", "m", "nebel"): 1},
        (
            Predicate("bildet sich", "", "{nom}", 14),
            _GIVES,
            Predicate("ist", "es", "neblig", 4, plain_only=True),
        ),
        {"light": {"leicht": 1}, "heavy": {"dicht": 1}},
        {},
        (Predicate("ist", "es", "nicht neblig", 1),),
        verb_words=("neblig",),
    ),
    "wind": Wording(
        {Noun("wind", "m", "wind"): 1},
        (
            Predicate("weht", "", "{nom}", 14),
            _GIVES,
            Predicate("ist", "es", "windig", 4, plain_only=True),
        ),
        _STRENGTH,
        {},
        (Predicate("ist", "es", "nicht windig", 1),),
        verb_words=("windig",),
    ),
    "storm": Wording(
        {Noun("sturm", "m", "sturm"): 1},
        (
            Predicate("ist", "es", "stürmisch", 9, plain_only=True),
            Predicate("herrscht", "", "{nom}", 3),
            _GIVES,
        ),
        {"heavy": {"schwer": 7, "heftig": 3}},
        {},
        (Predicate("ist", "es", "nicht stürmisch", 1),),
        verb_words=("stürmisch",),
    ),
    "thunderstorm": Wording(
        {Noun("gewitter", "p", "gewittern"): 1},
        (
            Predicate("kommt", "es", "zu {dat}", 12),
            _GIVES,
            Predicate("ziehen", "", "{nom} auf", 3),
        ),
        {"light": {"leicht": 7, "einzeln": 3}, "heavy": {"kräftig": 7, "heftig": 3}},
        {},
        (Predicate("gewittert", "es", "nicht", 1),),
        verb_words=("gewittert",),
    ),
    "frost": Wording(
        {Noun("frost", "m", "frost"): 1},
        (_GIVES, Predicate("herrscht", "", "{nom}", 2)),
        {"light": {"leicht": 1}, "heavy": {"streng": 6, "stark": 4}},
        {},
        (Predicate("ist", "es", "frostfrei", 1),),
    ),
    "hail": Wording(
        {Noun("hagel", "m", "hagel"): 1},
        (Predicate("hagelt", "es", "{adv}", 6), _GIVES),
        {"heavy": {"stark": 6, "heftig": 4}},
        {"heavy": {"stark": 6, "heftig": 4}},
        verb_words=("hagelt",),
    ),
    "showers": Wording(
        {Noun("schauer", "p", "schauern"): 8, Noun("regenschauer", "p", "regenschauern"): 2},
        (
            _GIVES,
            Predicate("kommt", "es", "zu {dat}", 1),
            Predicate("ziehen", "", "{nom} durch", 0.5),
        ),
        {"light": {"leicht": 7, "einzeln": 3}, "heavy": {"kräftig": 8, "stark": 2}},
    ),
    "drizzle": Wording(
        {Noun("nieselregen", "m", "nieselregen"): 1},
        (Predicate("nieselt", "es", "", 6), Predicate("fällt", "", "{nom}", 4)),
        verb_words=("nieselt",),
    ),
    "ice": Wording(
        {Noun("glätte", "f", "glätte"): 6, Noun("glatteis", "n", "glatteis"): 4},
        (Predicate("bildet sich", "", "{nom}", 5), Predicate("droht", "", "{nom}", 5)),
        {"light": {"leicht": 1}, "heavy": {"stark": 1}},
    ),
    "clear": Wording(
        {},
        (
            Predicate("ist", "es", "klar", 6),
            Predicate("bleibt", "es", "klar", 2),
            Predicate("ist", "der himmel", "klar", 2),
        ),
        bare={"klar": 7, "klarer himmel": 3},
        verb_words=("klar", "klarer"),
    ),
}

CERTAINTY: dict[str, Options] = {
    "possible": {"vielleicht": 7, "möglicherweise": 3},
    "likely": {"wahrscheinlich": 6, "voraussichtlich": 4},
}
CERTAINTY_WORDS = {
    "possible": ("möglich", "kann", "können"),
    "likely": ("rechnen",),
}
SPREADING: dict[tuple[str, str], float] = {
    ("breitet sich", "breiten sich"): 7,
    ("dehnt sich", "dehnen sich"): 3,
}
EASING: dict[tuple[str, str, str], float] = {
    ("lässt", "lassen", "nach"): 7,
    ("schwächt sich", "schwächen sich", "ab"): 3,
}
TEMPERATURE_VERBS: dict[str, Options] = {
    "rising": {"steigen": 8, "klettern": 2},
    "falling": {"sinken": 8, "fallen": 2},
}
COMPARISON: dict[str, Options] = {
    "warmer": {"wärmer": 8, "milder": 2},
    "colder": {"kälter": 8, "kühler": 2},
    "wetter": {"nasser": 8, "feuchter": 2},
    "drier": {"trockener": 1},
    "windier": {"windiger": 1},
}
YESTERDAY = "gestern"
_ONES = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_TENS = {2: "zwanzig", 3: "dreißig"}
_WEAK = {"m": "der", "f": "die", "n": "das", "p": "die"}
_STRONG = {
    "nom": {"m": "er", "f": "e", "n": "es", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "es", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
}
_NO = {
    "nom": {"m": "kein", "f": "keine", "n": "kein", "p": "keine"},
    "acc": {"m": "keinen", "f": "keine", "n": "kein", "p": "keine"},
    "dat": {"m": "keinem", "f": "keiner", "n": "keinem", "p": "keinen"},
}
_UNINFLECTED = frozenset({"etwas", "wenig"})


def number(degrees: int) -> str:
    """A temperature as words, without "grad": 21 is "einundzwanzig", -5 "minus fünf"."""
    if degrees < 0:
        return f"minus {number(-degrees)}"
    if degrees < len(_ONES):
        # Before "grad" it is "ein grad", while counting says "eins".
        return "ein" if degrees == 1 else _ONES[degrees]
    tens, ones = divmod(degrees, 10)
    head = "" if ones == 0 else ("ein" if ones == 1 else _ONES[ones]) + "und"
    return head + _TENS[tens]


def inflect(adjective: str, noun: Noun, case: str) -> str:
    """The noun with an adjective (or none) and no article: "starkem regen", "viele wolken"."""
    word = noun.dative if case == "dat" else noun.word
    if not adjective:
        return word
    singular = noun.gender != "p"
    if adjective in _UNINFLECTED or (adjective == "viel" and singular):
        return f"{adjective} {word}"
    return f"{adjective}{_STRONG[case][noun.gender]} {word}"


def definite(adjective: str, noun: Noun) -> str:
    """The noun with its article in the nominative: "der starke regen", "die dichten wolken"."""
    ending = "en" if noun.gender == "p" else "e"
    middle = f" {adjective}{ending}" if adjective else ""
    return f"{_WEAK[noun.gender]}{middle} {noun.word}"


def without(noun: Noun, case: str) -> str:
    """The noun denied: "kein regen", "keine schauer"."""
    return f"{_NO[case][noun.gender]} {inflect('', noun, case)}"


def time_phrases(day: str, daypart: str) -> Options:
    """One phrase for a day and its part; the night of a weekday is the one that leads to it."""
    name = next(iter(DAYS[day])).removeprefix("am ")
    if day in ("today", "tomorrow", "day_after_tomorrow"):
        phrases = {f"{name} {part}": weight for part, weight in _AFTER_DAY[daypart].items()}
        if (day, daypart) == ("today", "night"):
            phrases["in der kommenden nacht"] = 0.3
        return phrases
    if daypart == "night":
        return {f"in der nacht zum {name}": 8, f"in der nacht auf {name}": 2}
    parts = {"morgen": 7.0, "vormittag": 3.0} if daypart == "morning" else _AFTER_DAY[daypart]
    return {f"am {name}{part}": weight for part, weight in parts.items()}


def lexicon() -> Lexicon:
    """Every word and phrase above with the slots that it fills, for parsing."""
    words: Lexicon = {}
    function_words = frozenset("am im in der den an des".split())
    for slot, table in (("day", DAYS), ("place", PLACES)):
        for value, options in table.items():
            enter(words, options, ((slot, value),), function_words)
    for day in DAYS:
        for part in () if day == "weekend" else DAYPARTS:
            enter(words, time_phrases(day, part), (("day", day), ("daypart", part)))
    for part, options in DAYPARTS.items():
        enter(words, options, (("daypart", part),), function_words)
        enter(words, _AFTER_DAY[part], (("daypart", part),))
        enter(words, LATER[part], (("later", part),))
    for phenomenon, wording in WORDINGS.items():
        event: Events = (("phenomenon", phenomenon),)
        for noun in wording.nouns:
            enter(words, (noun.word, noun.dative), event)
        enter(words, wording.verb_words, event)
        for by_intensity in (wording.adjectives, wording.adverbs):
            for intensity, options in by_intensity.items():
                forms = [a + e for a in options for e in ("", "e", "er", "es", "en", "em")]
                enter(words, forms, (("intensity", intensity),))
    enter(words, ("frostfrei",), (("phenomenon", "frost"), ("negated", "yes")))
    negations = ["nicht", "ohne", *(w for forms in _NO.values() for w in forms.values())]
    enter(words, negations, (("negated", "yes"),))
    for certainty, options in CERTAINTY.items():
        enter(words, [*options, *CERTAINTY_WORDS[certainty]], (("certainty", certainty),))
    for change, verbs in (
        ("spreading", [verb for numbers in SPREADING for verb in numbers]),
        ("easing", [verb for *numbers, _ in EASING for verb in numbers]),
    ):
        enter(words, [*verbs, *(verb.split()[0] for verb in verbs)], (("change", change),))
    for change, options in TEMPERATURE_VERBS.items():
        enter(words, options, (("change", change),))
    for comparison, options in COMPARISON.items():
        enter(words, options, (("comparison", comparison),))
    enter(words, ("als", "im vergleich zu", "verglichen mit"), (("mark", "compared"),))
    enter(words, (YESTERDAY,), (("day", "yesterday"),))
    for degrees in range(-25, 40):
        enter(words, (number(degrees),), (("number", str(degrees)),))
    enter(words, ("eins",), (("number", "1"),))
    return words
