"""English word order: time or place first or last, "there will be" and "it will".

The words are in `phrases_en`; this module only arranges them.
"""

from __future__ import annotations

import numpy as np

from unglossed_synth import phrases_en as words
from unglossed_synth.arranging import attaches_temperature, clause_order
from unglossed_synth.grammar import pick
from unglossed_synth.meaning import Meaning
from unglossed_synth.phrases_en import Wording


def _noun_phrase(rng: np.random.Generator, wording: Wording, meaning: Meaning) -> str:
    noun = pick(rng, wording.nouns)
    if meaning.negated:
        return f"no {noun}"
    adjective = pick(rng, wording.adjectives.get(meaning.intensity or "", {"": 1.0}))
    return f"{adjective} {noun}".strip()


def _phenomenon(rng: np.random.Generator, meaning: Meaning, short: bool) -> str:
    assert meaning.phenomenon is not None
    wording = words.WORDINGS[meaning.phenomenon]
    will = pick(rng, words.WILL[meaning.certainty or ""])
    if meaning.change == "spreading":
        verb = pick(rng, words.SPREADING)
        return f"{_noun_phrase(rng, wording, meaning)} {will} {verb}"
    if meaning.change == "easing":
        verb = pick(rng, words.EASING)
        return f"the {_noun_phrase(rng, wording, meaning)} {will} {verb}"
    if short and rng.random() < 0.12:
        maybe = words.MAYBE.get(meaning.certainty or "", "")
        return f"{maybe} {_noun_phrase(rng, wording, meaning)}".strip()
    choices = {p.text: p.weight for p in wording.predicates}
    if meaning.intensity:
        choices = {p.text: p.weight for p in wording.predicates if not p.plain_only}
    if meaning.negated:
        choices = {"there {will} be {np}": 1.5, **wording.negative}
    text = pick(rng, choices).replace("{will}", will)
    if "{np}" in text:
        return text.replace("{np}", _noun_phrase(rng, wording, meaning))
    adverb = pick(rng, wording.adverbs.get(meaning.intensity or "", {"": 1.0}))
    return " ".join(text.replace("{adv}", adverb).split())


def _degrees(rng: np.random.Generator, meaning: Meaning) -> tuple[str, bool]:
    """The temperature with its unit, and whether it begins with "between"."""
    low, high = meaning.temperature, meaning.temperature_high
    assert low is not None
    if high is None:
        if low < 0 and rng.random() < 0.15:
            return f"{words.number(-low)} {words.unit(low)} below zero", False
        return f"{words.number(low)} {words.unit(low)}", False
    unit = words.unit(high)
    if meaning.change is None and rng.random() < 0.25:
        return f"between {words.number(low)} and {words.number(high)} {unit}", True
    return f"{words.number(low)} to {words.number(high)} {unit}", False


def _temperature(rng: np.random.Generator, meaning: Meaning, short: bool) -> str:
    degrees, between = _degrees(rng, meaning)
    if meaning.change in words.TEMPERATURE_VERBS:
        return f"temperatures will {pick(rng, words.TEMPERATURE_VERBS[meaning.change])} {degrees}"
    if between:
        return f"temperatures will be {degrees}"
    shapes = {"it will be": 6.0, "temperatures will reach": 2.0, "": 1.5 if short else 0.0}
    return f"{pick(rng, shapes)} {degrees}".strip()


def _comparison(rng: np.random.Generator, meaning: Meaning) -> str:
    assert meaning.comparison is not None
    assert meaning.compared_to is not None
    word = pick(rng, words.COMPARISON[meaning.comparison])
    if meaning.compared_to in words.PLACES:
        return f"it will be {word} than {pick(rng, words.PLACES[meaning.compared_to])}"
    if rng.random() < 0.12:
        return f"it will be {word} compared with {meaning.compared_to}"
    return f"it will be {word} than {meaning.compared_to}"


def _later(rng: np.random.Generator, meaning: Meaning) -> str:
    follow = Meaning(phenomenon=meaning.phenomenon_later)
    wording = words.WORDINGS[meaning.phenomenon_later or ""]
    when = pick(rng, words.LATER[meaning.later or ""])
    shape = pick(rng, {"clause": 6, "short": 2, "followed": 2})
    if shape == "clause":
        return f"and {when} {_phenomenon(rng, follow, short=False)}"
    noun = _noun_phrase(rng, wording, follow)
    return f"and {when} {noun}" if shape == "short" else f"followed by {noun} {when}"


def _time(rng: np.random.Generator, meaning: Meaning) -> str:
    if meaning.day is None:
        return pick(rng, words.DAYPARTS[meaning.daypart]) if meaning.daypart else ""
    if meaning.daypart is None:
        return pick(rng, words.DAYS[meaning.day])
    return pick(rng, words.time_phrases(meaning.day, meaning.daypart))


def _framed(rng: np.random.Generator, meaning: Meaning, core: str, kind: str) -> str:
    """The sentence's first clause with its time and place around it."""
    time = _time(rng, meaning)
    place = pick(rng, words.PLACES[meaning.place]) if meaning.place else ""
    if kind == "comparison":
        # "Colder than in the north in the east" would be hard to follow.
        orders = {f"{time} {place}".strip(): 7.0, f"{place} {time}".strip(): 3.0}
        return f"{pick(rng, orders)} {core}".strip()
    if time and place:
        orders = {
            f"{time} {core} {place}": 65.0,
            f"{core} {place} {time}": 15.0,
            f"{place} {core} {time}": 11.0,
            f"{time} {place} {core}": 9.0,
        }
    else:
        early, late = (7.0, 3.0) if time else (4.0, 6.0)
        orders = {f"{time}{place} {core}": early, f"{core} {time}{place}": late}
    return pick(rng, orders).strip()


def say_english(meaning: Meaning, rng: np.random.Generator) -> str:
    """One English way to say the meaning."""
    order = clause_order(rng, meaning)
    attached = attaches_temperature(rng, meaning, order)
    framed = bool(meaning.day or meaning.daypart or meaning.place)
    parts: list[str] = []
    for kind in order:
        if kind == "temperature" and attached:
            continue
        short = framed and not parts
        if kind == "phenomenon":
            clause = _phenomenon(rng, meaning, short)
        elif kind == "temperature":
            clause = _temperature(rng, meaning, short)
        else:
            clause = _comparison(rng, meaning)
        if parts:
            parts.append(f"{pick(rng, {'and': 85, 'meanwhile': 15})} {clause}")
        else:
            parts.append(_framed(rng, meaning, clause, kind))
        if kind == "phenomenon" and attached:
            degrees, between = _degrees(rng, meaning)
            parts.append(f"with temperatures {degrees}" if between else f"at {degrees}")
        if kind == "phenomenon" and meaning.later:
            parts.append(_later(rng, meaning))
    return " ".join(parts)
