"""What a perfect translator would write: the yardsticks that only a generated corpus can have.

Makes hypotheses; the scores are the business of `unglossed.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from unglossed.errors import InputError
from unglossed_synth.meaning import Meaning
from unglossed_synth.parsing import parse
from unglossed_synth.saying import say

# Keeps a yardstick from repeating the draws of a corpus with the same seed.
_YARDSTICK_STREAM = 9176


def ceiling(
    meanings: Sequence[Meaning], references: Sequence[str], language: str, seed: int
) -> list[str]:
    """Another saying of each meaning, drawn without a look at the reference.

    Scored against the references it is what a translator reaches who understands everything and
    chooses among the paraphrases as the corpus does. A translator that always takes the most
    frequent paraphrase may come out higher: see `consensus`.

    Args:
        meanings: what each clip means.
        references: the sentence of each clip, checked against its meaning.
        language: "en", "de" or "zh".
        seed: the same seed gives the same sayings.

    Returns:
        One hypothesis per meaning.

    Raises:
        InputError: the language is unknown, or a reference does not say its meaning (the two
            lists are not of the same clips, or not in the same order).
    """
    if len(meanings) != len(references):
        raise InputError(f"references: found {len(references)}, expected {len(meanings)}")
    for row, (meaning, reference) in enumerate(zip(meanings, references, strict=True)):
        said = parse(reference, language)
        if said != meaning.slots():
            raise InputError(
                f"references: row {row}, found {reference!r}, expected a saying of "
                f"{meaning.slots()}"
            )
    rng = np.random.default_rng([_YARDSTICK_STREAM, seed])
    return [say(meaning, language, rng) for meaning in meanings]


def consensus(
    meanings: Sequence[Meaning], language: str, seed: int, num_draws: int = 32
) -> list[str]:
    """The saying of each meaning that is most like its other sayings.

    Of `num_draws` sayings the one that shares most token pairs with the rest is taken: close to
    the best that a translator can do against one unknown reference, and a tighter bound than
    `ceiling`.

    Raises:
        InputError: the language is unknown.
    """
    rng = np.random.default_rng([_YARDSTICK_STREAM, seed])
    chosen = []
    for meaning in meanings:
        draws = [say(meaning, language, rng) for _ in range(num_draws)]
        pairs = [_pairs(text, language) for text in draws]
        gains = [
            sum(len(own & other) / max(1, len(own | other)) for other in pairs) for own in pairs
        ]
        chosen.append(draws[int(np.argmax(gains))])
    return chosen


def _pairs(text: str, language: str) -> set[tuple[str, str]]:
    tokens = ["", *(text if language == "zh" else text.split()), ""]
    return set(pairwise(tokens))
