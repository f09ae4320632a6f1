"""Draws meanings with the skew and the correlations of real forecasts.

A hidden season ties phenomena, temperatures and places together: it snows in the cold, thunder
comes on warm afternoons, fog in the morning. Words are the business of `saying`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unglossed.errors import InputError
from unglossed_synth.meaning import (
    COMPASS,
    DAYPARTS,
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    REGIONS,
    Meaning,
)

LEVELS = (1, 2, 3)

Weights = Mapping[str, float]

_DAYS: dict[int, Weights] = {
    1: {
        "tomorrow": 26,
        "today": 20,
        "sunday": 12,
        "saturday": 11,
        "monday": 10,
        "day_after_tomorrow": 8,
        "friday": 7,
        "weekend": 6,
    },
    2: {
        "tomorrow": 25,
        "today": 18,
        "sunday": 9,
        "saturday": 8,
        "monday": 7.5,
        "friday": 6.5,
        "tuesday": 6,
        "day_after_tomorrow": 6,
        "wednesday": 5,
        "thursday": 5,
        "weekend": 4,
    },
}
_DAYS[3] = _DAYS[2]

_DAYPARTS: Weights = {"night": 30, "morning": 23, "afternoon": 20, "evening": 16, "noon": 11}

_COMPASS: Weights = {
    "north": 22,
    "south": 20,
    "west": 13,
    "east": 12,
    "center": 9,
    "northwest": 7,
    "southeast": 6.5,
    "southwest": 5.5,
    "northeast": 5,
}
_PLACES: dict[int, Weights] = {
    1: _COMPASS,
    2: {**_COMPASS, "coast": 10, "mountains": 9, "everywhere": 7, "north_sea": 5, "baltic_sea": 4},
}
_PLACES[3] = {**_PLACES[2], "bavaria": 5, "rhine": 4, "danube": 3}

_PHENOMENA: dict[int, Weights] = {
    1: {
        "rain": 24,
        "sun": 20,
        "clouds": 15,
        "showers": 11,
        "wind": 10,
        "snow": 9,
        "fog": 8,
        "thunderstorm": 7,
    },
}
_PHENOMENA[2] = {**_PHENOMENA[1], "clear": 8, "frost": 6, "storm": 5}
_PHENOMENA[3] = {**_PHENOMENA[2], "drizzle": 4, "ice": 3, "hail": 2.5}

_SEASONS: Weights = {"winter": 36, "mild": 34, "summer": 30}
_MEAN_TEMPERATURE = {"winter": 0.0, "mild": 12.0, "summer": 25.0}
_COOLER_BY_DAYPART = {"night": 7.0, "morning": 4.0, "evening": 1.0}

# Each factor multiplies the weight of a phenomenon in a context; what is not named has 1.
_BY_SEASON: dict[str, Weights] = {
    "winter": {"snow": 3, "frost": 3, "ice": 3, "fog": 1.3, "thunderstorm": 0, "hail": 0.3},
    "mild": {"snow": 0.2, "frost": 0.4, "ice": 0.2, "rain": 1.2, "showers": 1.3, "fog": 1.3},
    "summer": {"snow": 0, "frost": 0, "ice": 0, "fog": 0.3, "thunderstorm": 3, "sun": 1.5},
}
_BY_DAYPART: dict[str, Weights] = {
    "morning": {"fog": 3, "frost": 2, "thunderstorm": 0.2},
    "noon": {"sun": 1.5, "frost": 0.2, "fog": 0.3, "clear": 0.3},
    "afternoon": {"thunderstorm": 2, "showers": 1.5, "frost": 0.1, "fog": 0.2, "clear": 0.3},
    "evening": {"thunderstorm": 2, "sun": 0.5},
    "night": {"sun": 0, "clear": 4, "frost": 3, "fog": 2, "ice": 2},
}
_BY_PLACE: dict[str, Weights] = {
    "north": {"wind": 1.8, "storm": 2, "snow": 0.8},
    "northwest": {"wind": 2, "storm": 2, "rain": 1.3},
    "south": {"snow": 1.4, "thunderstorm": 1.5, "wind": 0.5},
    "southeast": {"snow": 1.4, "thunderstorm": 1.3, "wind": 0.5},
    "coast": {"wind": 4, "storm": 5, "snow": 0.3},
    "north_sea": {"wind": 4, "storm": 5, "snow": 0.2, "frost": 0.2},
    "baltic_sea": {"wind": 3, "storm": 3, "snow": 0.4},
    "mountains": {"snow": 4, "storm": 2, "frost": 2, "fog": 1.5},
    "rhine": {"fog": 3, "snow": 0.4},
    "danube": {"fog": 4},
}
_NO_DEGREES = frozenset({"drizzle", "clear"})
_ONLY_HEAVY = frozenset({"storm", "hail"})
_NEVER_NEGATED = frozenset({"clear", "drizzle", "hail", "ice"})
_CAN_SPREAD: Weights = {"rain": 4, "clouds": 3, "snow": 2, "fog": 2, "showers": 2, "drizzle": 1}
_CAN_EASE: Weights = {"rain": 4, "wind": 4, "snow": 2, "storm": 2, "showers": 2, "thunderstorm": 1}
_BY_COMPARISON: dict[str, Weights] = {
    "warmer": {"sun": 2, "snow": 0, "frost": 0, "ice": 0},
    "colder": {"snow": 3, "frost": 4, "ice": 3, "sun": 0.5},
    "wetter": {"rain": 4, "showers": 3, "drizzle": 3, "sun": 0, "clear": 0, "frost": 0},
    "drier": {"sun": 2, "rain": 0, "showers": 0, "snow": 0, "drizzle": 0, "thunderstorm": 0},
    "windier": {"wind": 5, "storm": 6, "fog": 0},
}
_COMPARISONS: Weights = {"colder": 34, "warmer": 34, "wetter": 12, "drier": 10, "windier": 10}
_EXTRAS: dict[int, Weights] = {
    2: {"temperature": 36, "certainty": 24, "later": 22, "change": 18},
    3: {"temperature": 30, "later": 24, "certainty": 18, "comparison": 16, "change": 12},
}
_NUM_EXTRAS: dict[int, Weights] = {
    1: {"0": 1},
    2: {"0": 20, "1": 55, "2": 25},
    3: {"1": 25, "2": 45, "3": 30},
}


def pick(rng: np.random.Generator, weights: Weights) -> str:
    """One key, drawn with a probability proportional to its weight.

    Only `rng.random` is used, so that a seed gives the same choice under every NumPy.
    """
    point = rng.random() * sum(weights.values())
    chosen: str | None = None
    for value, weight in weights.items():
        if weight > 0:
            chosen = value
            point -= weight
            if point < 0:
                break
    assert chosen is not None, "no key has a positive weight"
    return chosen


def _scaled(weights: Weights, *factors: Weights) -> dict[str, float]:
    scaled = dict(weights)
    for factor in factors:
        for value in scaled:
            scaled[value] *= factor.get(value, 1.0)
    return scaled


def _draw_time(rng: np.random.Generator, level: int) -> tuple[str | None, str | None]:
    shape = pick(rng, {"day": 42, "both": 34, "daypart": 20, "none": 4})
    day = pick(rng, _DAYS[level]) if shape in ("day", "both") else None
    # "At the weekend in the evening" would name two evenings.
    daypart = pick(rng, _DAYPARTS) if shape in ("both", "daypart") and day != "weekend" else None
    return day, daypart


def _draw_extras(rng: np.random.Generator, level: int) -> set[str]:
    extras: set[str] = set()
    num_extras = int(pick(rng, _NUM_EXTRAS[level]))
    while len(extras) < num_extras:
        extras.add(pick(rng, {n: w for n, w in _EXTRAS[level].items() if n not in extras}))
    return extras


def _compare(rng: np.random.Generator, slots: dict[str, Any]) -> None:
    slots["comparison"] = pick(rng, _COMPARISONS)
    place = slots["place"]
    if place in (*COMPASS, *REGIONS) and rng.random() < 0.45:
        others = {p: w for p, w in _PLACES[3].items() if p not in (place, "everywhere")}
        if place in COMPASS:
            others = {p: w * (4 if p in COMPASS else 1) for p, w in others.items()}
        slots["compared_to"] = pick(rng, others)
    else:
        slots["compared_to"] = "yesterday" if slots["day"] in ("today", None) else "today"


def _describe(rng: np.random.Generator, slots: dict[str, Any], extras: set[str]) -> None:
    """Adds to a phenomenon how it changes, that it is absent, how sure and how strong it is."""
    phenomenon = slots["phenomenon"]
    changes = {
        "spreading": _CAN_SPREAD.get(phenomenon, 0.0),
        "easing": _CAN_EASE.get(phenomenon, 0.0),
    }
    if "change" in extras and any(changes.values()):
        slots["change"] = pick(rng, changes)
    elif phenomenon not in _NEVER_NEGATED and rng.random() < 0.12:
        slots["negated"] = True
    negated = "negated" in slots
    if "certainty" in extras:
        slots["certainty"] = pick(rng, {"possible": 0 if negated else 55, "likely": 45})
    if not negated and phenomenon not in _NO_DEGREES and rng.random() < 0.42:
        light = 0 if phenomenon in _ONLY_HEAVY else 42
        slots["intensity"] = pick(rng, {"heavy": 58, "light": light})


def _continue(rng: np.random.Generator, slots: dict[str, Any], season: str, level: int) -> None:
    """Adds what comes later in the day."""
    begin = DAYPARTS.index(slots["daypart"]) + 1 if slots["daypart"] else 1
    later = pick(rng, {name: _DAYPARTS[name] for name in DAYPARTS[begin:] or ("morning",)})
    follow = _scaled(_PHENOMENA[level], _BY_SEASON[season], _BY_DAYPART[later])
    follow[slots["phenomenon"]] = 0.0
    slots["later"], slots["phenomenon_later"] = later, pick(rng, follow)


def _measure(
    rng: np.random.Generator, slots: dict[str, Any], season: str, level: int, changes: bool
) -> None:
    """Adds a temperature or a range that fits the season and what falls from the sky."""
    phenomenon = None if slots.get("negated") else slots.get("phenomenon")
    # The sum of twelve uniform numbers less six is close to a standard normal.
    degrees = _MEAN_TEMPERATURE[season] + 5.0 * (sum(rng.random() for _ in range(12)) - 6.0)
    degrees -= _COOLER_BY_DAYPART.get(slots["daypart"], 0.0)
    degrees -= 4.0 if slots["place"] == "mountains" else 0.0
    if phenomenon in ("snow", "ice"):
        degrees = min(degrees, 1.0 - 2.0 * rng.random())
    elif phenomenon == "frost":
        degrees = -1.0 - abs(degrees) * 0.7
    elif phenomenon == "thunderstorm":
        degrees = max(degrees, 15.0 + 4.0 * rng.random())
    low = int(min(HIGHEST_TEMPERATURE - 1, max(LOWEST_TEMPERATURE, round(degrees))))
    slots["temperature"] = low
    if level == 3 and rng.random() < 0.45:
        slots["temperature_high"] = min(HIGHEST_TEMPERATURE, low + 2 + int(rng.random() * 7))
    if "change" not in slots and rng.random() < (0.4 if changes else 0.15):
        falling = 3.0 if slots["daypart"] == "night" or season == "winter" else 1.0
        slots["change"] = pick(rng, {"rising": 1.5, "falling": falling})


def _draw_once(rng: np.random.Generator, level: int) -> Meaning:
    season = pick(rng, _SEASONS)
    day, daypart = _draw_time(rng, level)
    place = pick(rng, _PLACES[level]) if rng.random() < 0.8 else None
    extras = _draw_extras(rng, level)
    slots: dict[str, Any] = {"day": day, "daypart": daypart, "place": place}
    factors = [
        _BY_SEASON[season],
        _BY_DAYPART.get(daypart or "", {}),
        _BY_PLACE.get(place or "", {}),
    ]
    if "comparison" in extras:
        _compare(rng, slots)
        factors.append(_BY_COMPARISON[slots["comparison"]])
    # A forecast of the temperature alone, or of a comparison alone, is a sentence too.
    bare = bool(extras) and extras <= {"temperature", "comparison"} and rng.random() < 0.4
    if not bare:
        slots["phenomenon"] = pick(rng, _scaled(_PHENOMENA[level], *factors))
        _describe(rng, slots, extras)
        if "later" in extras:
            _continue(rng, slots, season, level)
    if "temperature" in extras:
        _measure(rng, slots, season, level, "change" in extras)
    return Meaning(**slots)


def draw_meaning(rng: np.random.Generator, level: int) -> Meaning:
    """A meaning drawn from the part of the grammar that `level` opens.

    Level 1 has a day or a part of it, compass places, eight frequent phenomena, intensity and
    negation. Level 2 adds certainty, temperatures, what comes later, changes, and more days,
    places and phenomena. Level 3 adds ranges, comparisons and the rest, in longer sentences.

    Args:
        rng: the only source of chance.
        level: 1, 2 or 3.

    Returns:
        A meaning with at least three filled slots.

    Raises:
        InputError: there is no such level.
    """
    if level not in LEVELS:
        raise InputError(f"level: found {level!r}, expected one of {', '.join(map(str, LEVELS))}")
    while True:
        meaning = _draw_once(rng, level)
        if len(meaning.slots()) >= 3:
            return meaning
