"""Word error rate, the score of gloss recognition."""

from __future__ import annotations

from collections.abc import Sequence


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits that turn the hypotheses into the references, in percent of the references' words.

    Substitutions, deletions and insertions count alike, over the whole split; it may be over 100.

    Args:
        hypotheses: words separated by spaces, as many texts as `references`.
        references: at least one of them has a word.
    """
    pairs = [(h.split(), r.split()) for h, r in zip(hypotheses, references, strict=True)]
    edits = sum(_edit_distance(hypothesis, reference) for hypothesis, reference in pairs)
    return 100 * edits / sum(len(reference) for _, reference in pairs)


def _edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Fewest words to exchange, leave out or put in (Levenshtein)."""
    above = list(range(len(second) + 1))
    for row, word in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            change = above[column - 1] + (word != other)
            current.append(min(change, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]
