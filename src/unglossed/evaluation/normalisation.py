"""What is done to hypotheses and references before they are scored, by name and version.

A name stands for one behaviour for ever: a change gets a new version, so that two scores with the
same name can be compared. What a corpus needs is said by its reader, in `Corpus.normalisation`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from unglossed.errors import InputError

DEFAULT_NORMALISATION = "nfc.v1"


def nfc(text: str) -> str:
    """Unicode NFC, nothing else: case, spaces, punctuation and full-width forms stay."""
    return unicodedata.normalize("NFC", text)


def nfc_no_final_stop(text: str) -> str:
    """Unicode NFC, and without one full stop at the end that has a space before it.

    Label files that circulate append " ." to every sentence. It is always right, and so raises
    every score. A full stop that follows a word is the writer's own and stays.
    """
    return nfc(text).removesuffix(" .")


def nfkc_plain_signs(text: str) -> str:
    """Unicode NFKC, and one sign for each of those that are written in several ways.

    NFKC makes full-width letters, digits and marks narrow, ligatures letters, and every kind of
    space a plain one. Beyond it apostrophes and single quotes become ', double quotes ", hyphens
    and dashes -, and signs that nobody sees (soft hyphen, zero-width space, byte order mark) go.
    """
    return unicodedata.normalize("NFKC", text.translate(_PLAIN))


NFKC_PLAIN_SIGNS = "nfkc_plain_signs.v1"

_PLAIN = {
    **dict.fromkeys(
        map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u02b9\u0060\u00b4\uff07\uff40"), "'"
    ),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u301d\u301e\u301f\uff02"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff")),
}

NORMALISATIONS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        DEFAULT_NORMALISATION: nfc,
        "nfc_no_final_stop.v1": nfc_no_final_stop,
        NFKC_PLAIN_SIGNS: nfkc_plain_signs,
    }
)
"""Every normalisation by its name."""


def normalise(texts: Iterable[str], name: str = DEFAULT_NORMALISATION) -> list[str]:
    """Apply a normalisation to sentences.

    Raises:
        InputError: There is none of this name; the message lists those there are.
    """
    if name not in NORMALISATIONS:
        raise InputError(
            f"normalisation: found {name!r}, expected one of {', '.join(NORMALISATIONS)}"
        )
    change = NORMALISATIONS[name]
    return [change(text) for text in texts]
