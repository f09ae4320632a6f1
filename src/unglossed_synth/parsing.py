"""Reads slots back from a sentence, broken ones included, and scores hypotheses by them.

The lexicon is generated from the phrase tables of the sayings. It is not a grammar: it finds the
phrases, longest first, and a few marks ("than", "towards") tell whose slot a phrase fills.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from unglossed.evaluation.significance import Measure
from unglossed_synth import phrases_de, phrases_en, phrases_zh
from unglossed_synth.meaning import COMPARED_TO, DAYS, Meaning
from unglossed_synth.phrasebook import Events, Lexicon
from unglossed_synth.saying import check_language

_PUNCTUATION = re.compile(r"[^\w\s-]")
_SLOTS = tuple(Meaning.__dataclass_fields__)


@cache
def _lexicon(language: str) -> tuple[dict[tuple[str, ...], Events], int]:
    """The phrases as tuples of tokens, and the number of tokens of the longest."""
    tables: dict[str, Lexicon] = {
        "en": phrases_en.lexicon(),
        "de": phrases_de.lexicon(),
        "zh": phrases_zh.lexicon(),
    }
    phrases = {tuple(_tokens(p, language)): events for p, events in tables[language].items()}
    return phrases, max(map(len, phrases))


def _tokens(text: str, language: str) -> list[str]:
    plain = _PUNCTUATION.sub(" ", text.lower())
    return [c for c in plain if not c.isspace()] if language == "zh" else plain.split()


class _Reader:
    """Fills slots from events, in the order of the text; the first value of a slot stays."""

    def __init__(self) -> None:
        self.slots: dict[str, str] = {}
        self.compared = False  # after "than": the next place or day is what is compared to
        self.after_later = False  # after "towards evening": the next phenomenon comes later

    def take(self, events: Events) -> None:
        for slot, value in events:
            self._take_one(slot, value)

    def _take_one(self, slot: str, value: str) -> None:
        if slot == "mark":
            self.compared = self.compared or value == "compared"
            self.after_later = self.after_later or value == "later"
        elif slot == "number":
            self._take_number(int(value))
        elif slot in ("day", "place") and self.compared:
            self.compared = False
            if value in COMPARED_TO:
                self._set("compared_to", value)
        elif slot == "day" and value not in DAYS:
            self._set("compared_to", value)
        elif slot == "later" or (slot == "daypart" and self.after_later):
            self.after_later = True
            self._set("later", value)
        elif slot == "phenomenon" and self.after_later:
            self.after_later = False
            self._set("phenomenon_later", value)
        else:
            self._set(slot, value)

    def _take_number(self, degrees: int) -> None:
        if "temperature" not in self.slots:
            self.slots["temperature"] = str(degrees)
        elif degrees > int(self.slots["temperature"]):
            self._set("temperature_high", str(degrees))

    def _set(self, slot: str, value: str) -> None:
        self.slots.setdefault(slot, value)


def parse(text: str, language: str) -> dict[str, str]:
    """The slots that a sentence fills, as `Meaning.slots` gives them.

    Never fails on a sentence: what is not understood is passed over, and of two values for one
    slot the first counts.

    Args:
        text: a saying or a hypothesis; case, punctuation and (in Chinese) spaces are ignored.
        language: "en", "de" or "zh".

    Returns:
        Slot names and values in the order of the fields of `Meaning`.

    Raises:
        InputError: the language is unknown.
    """
    check_language(language)
    phrases, longest = _lexicon(language)
    tokens = _tokens(text, language)
    reader = _Reader()
    position = 0
    while position < len(tokens):
        for length in range(min(longest, len(tokens) - position), 0, -1):
            events = phrases.get(tuple(tokens[position : position + length]))
            if events is not None:
                reader.take(events)
                position += length
                break
        else:
            position += 1
    return {slot: reader.slots[slot] for slot in _SLOTS if slot in reader.slots}


Slots = Sequence[dict[str, str]]


def _counts(found: Slots, expected: Slots) -> NDArray[np.float64]:
    """For each sentence twice its hits, and its pairs in both: (sentences, 2)."""
    assert len(found) == len(expected), (len(found), len(expected))
    return np.array(
        [
            (2 * len(f.items() & e.items()), len(f) + len(e))
            for f, e in zip(found, expected, strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 2)


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    hits, total = sums[:, 0], sums[:, 1]
    return np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)


def _micro_f1(found: Slots, expected: Slots) -> float:
    return float(_f1(_counts(found, expected).sum(axis=0, keepdims=True))[0])


def slot_f1_measure(meanings: Sequence[Meaning], language: str) -> Measure:
    """Slot F1, in 0..1, as a measure to compare two systems by.

    Args:
        meanings: the true ones, in the order of the hypotheses.
        language: "en", "de" or "zh".

    Raises:
        InputError: the language is unknown.
    """
    check_language(language)
    expected = [meaning.slots() for meaning in meanings]

    def statistics(texts: Sequence[str]) -> NDArray[np.float64]:
        return _counts([parse(text, language) for text in texts], expected)

    return Measure("slots|mean:micro|scale:1", statistics, {"slot F1": _f1})


def slot_f1(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    """Micro F1, in 0..1, over the (slot, value) pairs of hypotheses and reference sentences.

    Raises:
        InputError: the language is unknown.
    """
    expected = [parse(text, language) for text in references]
    return _micro_f1([parse(text, language) for text in hypotheses], expected)


def slot_f1_meanings(
    hypotheses: Sequence[str], meanings: Sequence[Meaning], language: str
) -> float:
    """Micro F1, in 0..1, over the (slot, value) pairs of hypotheses and true meanings.

    Raises:
        InputError: the language is unknown.
    """
    found = [parse(text, language) for text in hypotheses]
    return _micro_f1(found, [meaning.slots() for meaning in meanings])
