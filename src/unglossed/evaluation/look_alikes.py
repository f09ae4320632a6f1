"""Tells when hypotheses and references differ by signs that look alike: ' and ’, wide forms."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from unglossed.evaluation.metrics import (
    NFKC_PLAIN_SIGNS,
    Reference,
    Scores,
    format_score,
    normalise,
    read_references,
    score_by_language,
)

_LEAST_GAIN = 0.05
_MOST_SIGNS = 3


def note_look_alikes(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    languages: Sequence[str],
    scores: Scores,
) -> str | None:
    """What look-alike signs cost; None: nothing.

    Args:
        hypotheses: as they were scored.
        references: of each, as they were scored.
        languages: of the references.
        scores: of these texts.

    Returns:
        How many hypotheses differ from their references in nothing but such signs, and what BLEU-4
        would be with one sign for each.
    """
    found = normalise(hypotheses, scores.normalisation)
    wanted = [normalise(texts, scores.normalisation) for texts in read_references(references)]
    plain = normalise(found, NFKC_PLAIN_SIGNS)
    plain_wanted = [normalise(texts, NFKC_PLAIN_SIGNS) for texts in wanted]
    if plain == found and plain_wanted == wanted:
        return None
    unified = score_by_language(plain, plain_wanted, languages, scores.normalisation)
    same = [
        number
        for number, (one, others) in enumerate(zip(found, wanted, strict=True), start=1)
        if one not in others and plain[number - 1] in plain_wanted[number - 1]
    ]
    gain = (unified.bleu4 or 0.0) - (scores.bleu4 or 0.0)
    if not same and gain < _LEAST_GAIN:
        return None
    signs = _signs(found, [text for texts in wanted for text in texts])
    which = (
        f"{len(same)} of {len(found)} hypotheses differ from their reference in nothing but"
        f" look-alike signs (first: sentence {same[0]})"
        if same
        else "hypotheses and references differ in look-alike signs"
    )
    return (
        f"{which}, such as {signs}: with one sign for each BLEU-4 would be"
        f" {format_score(unified.bleu4)} instead of {format_score(scores.bleu4)}; unglossed score"
        f" --normalisation {NFKC_PLAIN_SIGNS} scores so"
    )


def _signs(found: Sequence[str], wanted: Sequence[str]) -> str:
    """The signs whose counts differ most between hypotheses and references."""
    counts = Counter("".join(found))
    counts.subtract(Counter("".join(wanted)))
    special = [sign for sign in counts if normalise([sign], NFKC_PLAIN_SIGNS) != [sign]]
    special.sort(key=lambda sign: (-abs(counts[sign]), sign))
    return ", ".join(
        f"{sign} (U+{ord(sign):04X} {unicodedata.name(sign, 'without a name')})"
        for sign in special[:_MOST_SIGNS]
    )
