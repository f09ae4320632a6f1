"""Says a meaning in English, German or Chinese, one of its paraphrases drawn by chance.

The words and their order are in `phrases_*` and in `english`, `german` and `chinese`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unglossed.errors import InputError
from unglossed_synth.chinese import say_chinese
from unglossed_synth.english import say_english
from unglossed_synth.german import say_german
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.meaning import Meaning
from unglossed_synth.phrasebook import LANGUAGES as LANGUAGES

_SPEAKERS: dict[str, Callable[[Meaning, np.random.Generator], str]] = {
    "en": say_english,
    "de": say_german,
    "zh": say_chinese,
}
# Keeps text for pre-training apart from a corpus that was drawn with the same seed.
_TEXTS_STREAM = 7351
_MOST_DRAWS_WITHOUT_GAIN = 5000


def check_language(language: str) -> None:
    """Raises an `InputError` unless the generator speaks `language`."""
    if language not in LANGUAGES:
        raise InputError(f"language: found {language!r}, expected one of {', '.join(LANGUAGES)}")


def say(meaning: Meaning, language: str, rng: np.random.Generator) -> str:
    """One way to say the meaning; every way tells all of its slots.

    Args:
        meaning: a meaning that `grammar.draw_meaning` may draw.
        language: "en", "de" or "zh".
        rng: draws among the paraphrases, whose frequencies are skewed.

    Returns:
        A lower-case sentence without a final stop and with numbers as words; Chinese has no
        spaces.

    Raises:
        InputError: the language is unknown.
    """
    check_language(language)
    return _SPEAKERS[language](meaning, rng)


def draw_texts(
    language: str, level: int, num_sentences: int, seed: int, exclude: set[str]
) -> list[str]:
    """Distinct sentences of the grammar, to pre-train a language model on.

    Args:
        language: "en", "de" or "zh".
        level: 1, 2 or 3, as for `grammar.draw_meaning`.
        num_sentences: how many sentences are wanted.
        seed: the same seed gives the same sentences.
        exclude: sentences that must not be among them, such as those of a corpus.

    Returns:
        `num_sentences` different sentences, frequent ones early.

    Raises:
        InputError: language or level are unknown, or there are not that many sentences.
    """
    check_language(language)
    rng = np.random.default_rng([_TEXTS_STREAM, seed])
    texts: dict[str, None] = {}
    num_in_vain = 0
    while len(texts) < num_sentences:
        text = say(draw_meaning(rng, level), language, rng)
        if text in exclude or text in texts:
            num_in_vain += 1
        else:
            texts[text] = None
            num_in_vain = 0
        if num_in_vain > _MOST_DRAWS_WITHOUT_GAIN:
            raise InputError(
                f"num_sentences: found {num_sentences}, expected at most about {len(texts)} "
                f"(all that level {level} has to say in {language!r} beyond what is excluded)"
            )
    return list(texts)
