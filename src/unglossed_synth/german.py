"""German word order: verb second, time before place, separable verbs at the end.

The words are in `phrases_de`; this module only arranges and inflects them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unglossed_synth import phrases_de as words
from unglossed_synth.arranging import attaches_temperature, clause_order
from unglossed_synth.grammar import pick
from unglossed_synth.meaning import Meaning
from unglossed_synth.phrases_de import Noun, Predicate, Wording


@dataclass(frozen=True)
class _Clause:
    """A verb-second clause before its first field is chosen; no verb makes it elliptical."""

    verb: str
    subject: str
    tail: str
    middle: tuple[str, ...] = field(default=())

    def arranged(self, front: str, middle: list[str]) -> str:
        inner = [*middle, *self.middle, self.tail]
        if not self.verb:
            parts = [front, *inner]
        elif front:
            parts = [front, self.verb, self.subject, *inner]
        else:
            parts = [self.subject or "es", self.verb, *inner]
        return " ".join(part for part in parts if part)


def _filled(rng: np.random.Generator, template: str, wording: Wording, meaning: Meaning) -> str:
    if "{" not in template:
        return template
    if "{adv}" in template:
        options = wording.adverbs.get(meaning.intensity or "", {"": 1.0})
        return template.replace("{adv}", pick(rng, options)).strip()
    noun = _noun(rng, wording)
    adjective = pick(rng, wording.adjectives.get(meaning.intensity or "", {"": 1.0}))
    for case in ("nom", "acc", "dat"):
        phrase = (
            words.without(noun, case) if meaning.negated else words.inflect(adjective, noun, case)
        )
        template = template.replace(f"{{{case}}}", phrase)
    return template


def _noun(rng: np.random.Generator, wording: Wording) -> Noun:
    by_word = {noun.word: noun for noun in wording.nouns}
    return by_word[pick(rng, {noun.word: weight for noun, weight in wording.nouns.items()})]


def _predicate(rng: np.random.Generator, predicates: tuple[Predicate, ...]) -> Predicate:
    index = pick(rng, {str(i): predicate.weight for i, predicate in enumerate(predicates)})
    return predicates[int(index)]


def _elliptical(rng: np.random.Generator, wording: Wording, meaning: Meaning) -> _Clause:
    if wording.bare:
        return _Clause("", "", pick(rng, wording.bare))
    return _Clause("", "", _filled(rng, "{nom}", wording, meaning))


def _changing(rng: np.random.Generator, wording: Wording, meaning: Meaning) -> _Clause:
    noun = _noun(rng, wording)
    plural = noun.gender == "p"
    adjective = pick(rng, wording.adjectives.get(meaning.intensity or "", {"": 1.0}))
    if meaning.change == "spreading":
        heads = words.SPREADING
        singular_head = pick(rng, {head[0]: weight for head, weight in heads.items()})
        plural_head = next(head[1] for head in heads if head[0] == singular_head)
        tail = f"{words.inflect(adjective, noun, 'nom')} aus"
        return _Clause(plural_head if plural else singular_head, "", tail)
    easing = {head[0]: weight for head, weight in words.EASING.items()}
    singular_head = pick(rng, easing)
    head = next(head for head in words.EASING if head[0] == singular_head)
    return _Clause(head[1] if plural else head[0], words.definite(adjective, noun), head[2])


def _phenomenon(rng: np.random.Generator, meaning: Meaning, front_known: bool) -> _Clause:
    assert meaning.phenomenon is not None
    wording = words.WORDINGS[meaning.phenomenon]
    if meaning.change in ("spreading", "easing"):
        clause = _changing(rng, wording, meaning)
    else:
        manner = "adverb"
        if meaning.certainty and not meaning.negated and wording.nouns:
            manner = pick(rng, {"adverb": 7, "phrase": 3})
        if manner == "phrase":
            return _uncertain(rng, wording, meaning)
        clause = _certain(rng, wording, meaning, front_known)
    if meaning.certainty:
        adverb = pick(rng, words.CERTAINTY[meaning.certainty])
        return _Clause(clause.verb, clause.subject, clause.tail, (adverb,))
    return clause


def _uncertain(rng: np.random.Generator, wording: Wording, meaning: Meaning) -> _Clause:
    if meaning.certainty == "likely":
        return _Clause("ist", "", _filled(rng, "mit {dat} zu rechnen", wording, meaning))
    if rng.random() < 0.3:
        return _Clause("kann", "es", _filled(rng, "{acc} geben", wording, meaning))
    plural = next(iter(wording.nouns)).gender == "p"
    tail = _filled(rng, "{nom} möglich", wording, meaning)
    return _Clause("sind" if plural else "ist", "", tail)


def _certain(
    rng: np.random.Generator, wording: Wording, meaning: Meaning, front_known: bool
) -> _Clause:
    if front_known and rng.random() < 0.1:
        return _elliptical(rng, wording, meaning)
    if meaning.negated:
        noun = words.inflect("", _noun(rng, wording), "acc")
        choices = (
            Predicate("gibt", "es", "{acc}", 1.6),
            Predicate("bleibt", "es", f"ohne {noun}", 0.4),
            *wording.negative,
        )
    else:
        choices = tuple(p for p in wording.predicates if not (meaning.intensity and p.plain_only))
    chosen = _predicate(rng, choices)
    return _Clause(chosen.verb, chosen.subject, _filled(rng, chosen.tail, wording, meaning))


def _degrees(rng: np.random.Generator, meaning: Meaning) -> tuple[str, bool]:
    """The temperature with its unit, and whether it begins with "zwischen"."""
    assert meaning.temperature is not None
    low = words.number(meaning.temperature)
    if meaning.temperature_high is None:
        return f"{low} grad", False
    high = words.number(meaning.temperature_high)
    if meaning.change is None and rng.random() < 0.25:
        return f"zwischen {low} und {high} grad", True
    return f"{low} bis {high} grad", False


def _temperature(rng: np.random.Generator, meaning: Meaning, front_known: bool) -> _Clause:
    degrees, between = _degrees(rng, meaning)
    if meaning.change in words.TEMPERATURE_VERBS:
        verb = pick(rng, words.TEMPERATURE_VERBS[meaning.change or ""])
        return _Clause(verb, "die temperaturen", f"auf {degrees}")
    if between:
        return _Clause("liegen", "die temperaturen", degrees)
    shape = pick(rng, {"es": 6, "lie": 2, "short": 1.5 if front_known else 0})
    if shape == "short":
        return _Clause("", "", degrees)
    if shape == "lie":
        return _Clause("liegen", "die temperaturen", f"bei {degrees}")
    return _Clause("werden", "es", degrees)


def _comparison(rng: np.random.Generator, meaning: Meaning) -> _Clause:
    assert meaning.comparison is not None
    assert meaning.compared_to is not None
    word = pick(rng, words.COMPARISON[meaning.comparison])
    verb = pick(rng, {"wird": 8, "ist": 2})
    if meaning.compared_to in words.PLACES:
        other = pick(rng, words.PLACES[meaning.compared_to])
        return _Clause(verb, "es", f"{word} als {other}")
    other = {"yesterday": words.YESTERDAY, "today": "heute"}[meaning.compared_to]
    if rng.random() < 0.15:
        return _Clause(verb, "es", word, (f"im vergleich zu {other}",))
    return _Clause(verb, "es", f"{word} als {other}")


def _later(rng: np.random.Generator, meaning: Meaning) -> str:
    later = Meaning(phenomenon=meaning.phenomenon_later)
    wording = words.WORDINGS[meaning.phenomenon_later or ""]
    front = pick(rng, words.LATER[meaning.later or ""])
    if rng.random() < 0.35:
        text = _elliptical(rng, wording, later).arranged(front, ["dann"] * (rng.random() < 0.3))
    else:
        text = _certain(rng, wording, later, False).arranged(front, [])
    return f"und {text}" if rng.random() < 0.7 else text


def _time(rng: np.random.Generator, meaning: Meaning) -> list[str]:
    if meaning.day is None:
        return [pick(rng, words.DAYPARTS[meaning.daypart])] if meaning.daypart else []
    if meaning.daypart is None:
        return [pick(rng, words.DAYS[meaning.day])]
    weekday = meaning.day not in ("today", "tomorrow", "day_after_tomorrow")
    if weekday and meaning.daypart != "night" and rng.random() < 0.8:
        return [pick(rng, words.DAYS[meaning.day]), pick(rng, words.DAYPARTS[meaning.daypart])]
    return [pick(rng, words.time_phrases(meaning.day, meaning.daypart))]


def _fields(rng: np.random.Generator, meaning: Meaning, clause: _Clause) -> tuple[str, list[str]]:
    """The first field and the middle field of the sentence's first clause."""
    time = _time(rng, meaning)
    place = [pick(rng, words.PLACES[meaning.place])] if meaning.place else []
    if clause.verb and rng.random() < (0.15 if " " in clause.subject else 0.03):
        return "", [*time, *place]
    if time and place and rng.random() < 0.14:
        return place[0], time
    if time or place:
        first, *others = [*time, *place]
        return first, others
    return "", []


def say_german(meaning: Meaning, rng: np.random.Generator) -> str:
    """One German way to say the meaning, in the manner of PHOENIX14T."""
    order = clause_order(rng, meaning)
    attached = attaches_temperature(rng, meaning, order)
    framed = bool(meaning.day or meaning.daypart or meaning.place)
    parts: list[str] = []
    for kind in order:
        if kind == "temperature" and attached:
            continue
        first = not parts
        if kind == "phenomenon":
            clause = _phenomenon(rng, meaning, first and framed)
        elif kind == "temperature":
            clause = _temperature(rng, meaning, first and framed)
        else:
            clause = _comparison(rng, meaning)
        if first:
            front, middle = _fields(rng, meaning, clause)
            parts.append(clause.arranged(front, middle))
        elif rng.random() < 0.7:
            parts.append(f"und {clause.arranged('', [])}")
        else:
            parts.append(clause.arranged("dabei", []))
        if kind == "phenomenon":
            if attached:
                degrees, between = _degrees(rng, meaning)
                parts.append(f"bei temperaturen {degrees}" if between else f"bei {degrees}")
            if meaning.later:
                parts.append(_later(rng, meaning))
    return " ".join(parts)
