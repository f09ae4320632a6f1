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


NORMALISATIONS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"nfc.v1": nfc, "nfc_no_final_stop.v1": nfc_no_final_stop}
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
