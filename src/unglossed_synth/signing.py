"""Turns a meaning into a sequence of signs, in an order of its own: topic first, comment last.

Spoken word order plays no part here, and motion and drawing come later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unglossed_synth.lexicon import SIGNS
from unglossed_synth.meaning import COMPASS, Meaning

# How far the mouth is open, how wide, how rounded; how full the cheeks are (below 0: sucked in).
MOUTHS: dict[str, tuple[float, float, float, float]] = {
    "rest": (0.0, 0.0, 0.0, 0.0),
    "open": (0.9, 0.1, 0.2, 0.0),
    "wide": (0.35, 1.0, 0.0, 0.0),
    "round": (0.5, -0.4, 1.0, 0.0),
    "pressed": (0.0, 0.5, 0.0, 0.0),
    "puffed": (0.15, -0.5, 0.9, 1.0),
    "sucked": (0.1, -0.8, 0.4, -1.0),
    "frown": (0.0, -0.9, 0.0, 0.2),
}

# Directions on the map in front of the signer, as the viewer sees it: (to the right, down).
_COMPASS_POINTS: dict[str, tuple[float, float]] = {
    "north": (0.0, -1.0),
    "northeast": (0.75, -0.75),
    "east": (1.0, 0.0),
    "southeast": (0.75, 0.75),
    "south": (0.0, 1.0),
    "southwest": (-0.75, 0.75),
    "west": (-1.0, 0.0),
    "northwest": (-0.75, -0.75),
    "center": (0.0, 0.0),
}
_REGION_POINTS = {
    "coast": "north",
    "mountains": "south",
    "north_sea": "northwest",
    "baltic_sea": "northeast",
    "rhine": "west",
    "danube": "southeast",
    "bavaria": "south",
}
_POINT_NAMES = {point: name.upper() for name, point in _COMPASS_POINTS.items()}

_DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
_WHOLE_NUMBERS = {10: "TEN", 11: "ELEVEN", 12: "TWELVE"}
_QUALITIES = {
    "warmer": "WARM",
    "colder": "COLD",
    "wetter": "WET",
    "drier": "DRY",
    "windier": "WIND",
}
_CHANGES = {"rising": "RISE", "falling": "FALL", "spreading": "SPREAD", "easing": "EASE"}
_CERTAINTY_SIGNS = {"possible": "MAYBE", "likely": "LIKELY"}
# Other signs for the same thing, taken now and then where the sentence is a rich one.
_VARIANTS = {
    "THEN": "AFTERWARDS",
    "WARM": "HOT",
    "COLD": "COOL",
    "EVERYWHERE": "WHOLE-LAND",
    "TODAY": "NOW",
}
_VARIANT_RATE = 0.2


@dataclass(frozen=True)
class SignToken:
    """One sign of a sentence, with what face, head and movement add to it.

    Attributes:
        sign: key of `lexicon.SIGNS`.
        point: where a POINT goes on the map, (right, down) as the viewer sees it, each -1 to 1.
        shift: how far the sign is moved in signing space to the hand's own side, in head heights.
        intensity: smaller and shorter, or larger and repeated movement; with cheeks and shoulders.
        negated: headshake throughout the sign.
        certainty: a tilted head with raised brows, or nods.
        brows: raised (to 1) or drawn together (to -1).
        mouth: key of `MOUTHS`.
    """

    sign: str
    point: tuple[float, float] | None = None
    shift: float = 0.0
    intensity: str | None = None
    negated: bool = False
    certainty: str | None = None
    brows: float = 0.0
    mouth: str = "rest"


def _token(sign: str, *, shift: float = 0.0) -> SignToken:
    return SignToken(sign, shift=shift, brows=SIGNS[sign].brows, mouth=SIGNS[sign].mouth)


def _pointing(direction: str) -> SignToken:
    return SignToken("POINT", point=_COMPASS_POINTS[direction])


def _sign_place(place: str) -> list[SignToken]:
    if place in COMPASS:
        return [_pointing(place)]
    sign = _token(place.upper().replace("_", "-"))
    return [sign, _pointing(_REGION_POINTS[place])] if place in _REGION_POINTS else [sign]


def _sign_number(value: int, shift: float) -> list[SignToken]:
    """Units before tens; a sign of its own for 10 to 12; below zero the MINUS comes last."""
    size = abs(value)
    if size in _WHOLE_NUMBERS:
        signs = [_WHOLE_NUMBERS[size]]
    else:
        tens, units = divmod(size, 10)
        signs = [_DIGITS[units]] if units or not tens else []
        signs += [f"TENS-{tens}"] if tens else []
    return [_token(sign, shift=shift) for sign in (*signs, *(["MINUS"] if value < 0 else []))]


def _sign_temperature(meaning: Meaning, rng: np.random.Generator) -> list[SignToken]:
    if meaning.temperature is None:
        return []
    tokens = [_token("DEGREE")] if rng.random() < 0.5 else []
    if meaning.temperature_high is None:
        return [*tokens, *_sign_number(meaning.temperature, 0.0)]
    # The two ends of a range stand at two places in signing space, with a sign between them.
    lead = [_token("BETWEEN")] if rng.random() < 0.3 else []
    low = _sign_number(meaning.temperature, 0.25)
    high = _sign_number(meaning.temperature_high, -0.25)
    return [*tokens, *lead, *low, _token("UNTIL"), *high]


def _colour(token: SignToken, meaning: Meaning) -> SignToken:
    """Lays intensity, negation and certainty over the sign of the phenomenon."""
    brows, mouth = token.brows, token.mouth
    if meaning.intensity:
        mouth = "puffed" if meaning.intensity == "heavy" else "sucked"
    elif meaning.negated:
        mouth = "frown"
    if meaning.negated:
        brows = -1.0
    elif meaning.certainty == "possible":
        brows = 1.0
    return replace(
        token,
        intensity=meaning.intensity,
        negated=meaning.negated,
        certainty=meaning.certainty,
        brows=brows,
        mouth=mouth,
    )


def _sign_phenomenon(meaning: Meaning, rng: np.random.Generator) -> list[SignToken]:
    if meaning.phenomenon is None:
        return []
    tokens = [_colour(_token(meaning.phenomenon.upper()), meaning)]
    if meaning.certainty and rng.random() < 0.4:
        extra = _token(_CERTAINTY_SIGNS[meaning.certainty])
        tokens.append(replace(extra, certainty=meaning.certainty))
    if meaning.negated and rng.random() < 0.25:
        tokens.append(replace(_token("NOT"), negated=True))
    return tokens


def _sign_rest(meaning: Meaning, rng: np.random.Generator) -> list[SignToken]:
    """Temperature, change, what comes later, comparison: the comments after the phenomenon."""
    tokens: list[SignToken] = []
    on_weather = meaning.change in ("spreading", "easing")
    if meaning.change and on_weather:
        tokens.append(_token(_CHANGES[meaning.change]))
    tokens += _sign_temperature(meaning, rng)
    if meaning.change and not on_weather:
        tokens += [_token("TEMPERATURE")] if rng.random() < 0.5 else []
        tokens.append(_token(_CHANGES[meaning.change]))
    if meaning.later or meaning.phenomenon_later:
        tokens.append(_token("THEN"))
        tokens += [_token(meaning.later.upper())] if meaning.later else []
        if meaning.phenomenon_later:
            tokens += [_token("BECOME")] if rng.random() < 0.25 else []
            tokens.append(_token(meaning.phenomenon_later.upper()))
    if meaning.comparison or meaning.compared_to:
        tokens.append(_token("COMPARE"))
        if meaning.compared_to in ("yesterday", "today"):
            tokens.append(_token(meaning.compared_to.upper()))
        elif meaning.compared_to:
            tokens += _sign_place(meaning.compared_to)
        if meaning.comparison:
            tokens += [_token(_QUALITIES[meaning.comparison]), _token("MORE")]
    return tokens


def sign_sentence(meaning: Meaning, rng: np.random.Generator) -> list[SignToken]:
    """The signs of one sentence: time, place, phenomenon, then the comments on it.

    A meaning can be signed in several ways (optional and variant signs, drawn by `rng`), but two
    meanings never in the same way.
    """
    topic = []
    if meaning.day:
        topic.append(_token(meaning.day.upper().replace("_", "-")))
    if meaning.daypart:
        topic.append(_token(meaning.daypart.upper()))
    if meaning.place:
        topic += _sign_place(meaning.place)
    rest = _sign_rest(meaning, rng)
    if rest and meaning.place in COMPASS and rng.random() < 0.15:
        topic.insert(len(topic) - 1, _token("REGION"))
    if rest and rng.random() < 0.12:
        topic.insert(0, _token("WEATHER"))
    tokens = [*topic, *_sign_phenomenon(meaning, rng), *rest]
    if not rest:
        return tokens
    return [
        replace(_token(_VARIANTS[token.sign]), shift=token.shift)
        if token.sign in _VARIANTS and rng.random() < _VARIANT_RATE
        else token
        for token in tokens
    ]


def glosses(tokens: Sequence[SignToken]) -> list[str]:
    """Names the signs as an annotator would.

    Returns:
        One upper-case gloss for each token: pointing with its direction (`POINT-NORTH`), a
        headshake as `neg-`, intensity as `++` or `--` at the end. Certainty on the face alone is
        not glossed.
    """
    names = []
    for token in tokens:
        name = token.sign
        if token.point is not None:
            name += f"-{_POINT_NAMES.get(token.point, 'THERE')}"
        if token.negated:
            name = f"neg-{name}"
        if token.intensity:
            name += "++" if token.intensity == "heavy" else "--"
        names.append(name)
    return names
