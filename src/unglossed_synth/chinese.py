"""Chinese word order: time, place, certainty, predicate; clauses parted by a comma.

The words are in `phrases_zh`; this module only arranges them.
"""

from __future__ import annotations

import numpy as np

from unglossed_synth import phrases_zh as words
from unglossed_synth.arranging import attaches_temperature, clause_order
from unglossed_synth.grammar import pick
from unglossed_synth.meaning import Meaning


def _phenomenon(rng: np.random.Generator, meaning: Meaning, short: bool) -> str:
    assert meaning.phenomenon is not None
    wording = words.WORDINGS[meaning.phenomenon]
    intensity = meaning.intensity or ""
    maybe = pick(rng, words.CERTAINTY[meaning.certainty]) if meaning.certainty else ""
    if meaning.change in words.CHANGES:
        noun = wording.changing[intensity]
        return f"{noun}{maybe}{pick(rng, words.CHANGES[meaning.change])}"
    if meaning.negated:
        return maybe + pick(rng, wording.negative)
    predicate = pick(rng, wording.predicates[intensity])
    if predicate[0] not in words.VERBS:
        return maybe + predicate
    if short and intensity and predicate[0] == "有" and rng.random() < 0.15:
        return maybe + predicate[1:]
    future = pick(rng, {"": 60, "会": 28, "将": 0 if maybe else 12})
    return f"{maybe}{future}{predicate}"


def _degrees(rng: np.random.Generator, meaning: Meaning) -> str:
    assert meaning.temperature is not None
    low = words.number(meaning.temperature)
    if meaning.temperature_high is None:
        return f"{low}度"
    return f"{low}{pick(rng, {'到': 7, '至': 3})}{words.number(meaning.temperature_high)}度"


def _temperature(rng: np.random.Generator, meaning: Meaning) -> str:
    subject = pick(rng, {"气温": 8, "温度": 2})
    if meaning.change in words.TEMPERATURE_VERBS:
        verb = pick(rng, words.TEMPERATURE_VERBS[meaning.change])
    else:
        verb = pick(rng, {"": 6, "为": 2, "在": 2 if meaning.temperature_high is not None else 0})
    return f"{subject}{verb}{_degrees(rng, meaning)}"


def _comparison(rng: np.random.Generator, meaning: Meaning) -> str:
    assert meaning.comparison is not None
    assert meaning.compared_to is not None
    word = pick(rng, words.COMPARISON[meaning.comparison])
    more = "风更大" if meaning.comparison == "windier" else f"更{word}"
    if meaning.compared_to in words.PLACES:
        other = pick(rng, words.PLACES[meaning.compared_to])
    else:
        other = {"yesterday": words.YESTERDAY, "today": "今天"}[meaning.compared_to]
    return pick(rng, {f"比{other}{word}": 5, f"比{other}{more}": 4, f"与{other}相比{more}": 1})


def _later(rng: np.random.Generator, meaning: Meaning) -> str:
    when = pick(rng, words.later_phrases(meaning.later or ""))
    return when + _phenomenon(rng, Meaning(phenomenon=meaning.phenomenon_later), short=False)


def _time(rng: np.random.Generator, meaning: Meaning) -> str:
    if meaning.day is None:
        return pick(rng, words.DAYPARTS[meaning.daypart]) if meaning.daypart else ""
    if meaning.daypart is None:
        return pick(rng, words.DAYS[meaning.day])
    return pick(rng, words.time_phrases(meaning.day, meaning.daypart))


def _framed(rng: np.random.Generator, meaning: Meaning, core: str) -> str:
    """The sentence's first clause with its time and place before it."""
    time = _time(rng, meaning)
    place = pick(rng, words.PLACES[meaning.place]) if meaning.place else ""
    return pick(rng, {f"{time}{place}{core}": 85, f"{place}{time}{core}": 15})


def say_chinese(meaning: Meaning, rng: np.random.Generator) -> str:
    """One Chinese way to say the meaning."""
    order = clause_order(rng, meaning)
    attached = attaches_temperature(rng, meaning, order)
    framed = bool(meaning.day or meaning.daypart or meaning.place)
    text = ""
    for kind in order:
        if kind == "phenomenon":
            clause = _phenomenon(rng, meaning, framed and not text)
        elif kind == "temperature":
            clause = _temperature(rng, meaning)
        else:
            clause = _comparison(rng, meaning)
        if not text:
            text = _framed(rng, meaning, clause)
        elif kind == "temperature" and attached:
            text += f"，{clause}"
        else:
            text += pick(rng, {"，": 8, "，同时": 2}) + clause
        if kind == "phenomenon" and meaning.later:
            text += f"，{_later(rng, meaning)}"
    return text
