"""What the phrase tables of the three languages share: their types and the entry into a lexicon.

Holds no words itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LANGUAGES = ("en", "de", "zh")

Options = Mapping[str, float]
"""Ways to say one thing, each with its weight."""

Events = tuple[tuple[str, str], ...]
"""What a phrase tells: (slot, value) pairs; "mark" and "number" are pseudo-slots of `parsing`."""

Lexicon = dict[str, Events]


def enter(
    lexicon: Lexicon,
    phrases: Iterable[str],
    events: Events,
    function_words: frozenset[str] = frozenset(),
) -> None:
    """Enters phrases, and what is left of each without its leading function words.

    The shorter form lets `parsing` read "norden" where a broken hypothesis has lost "im". A
    shorter form that is already taken is left alone: "morgen" stays tomorrow.
    """
    for phrase in phrases:
        assert lexicon.setdefault(phrase, events) == events, (phrase, lexicon[phrase], events)
        kept = phrase.split()
        while len(kept) > 1 and kept[0] in function_words:
            kept = kept[1:]
            lexicon.setdefault(" ".join(kept), events)
