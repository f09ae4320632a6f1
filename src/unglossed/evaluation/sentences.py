"""The texts that scoring is given in Python: whether they are texts, and one or more a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from unglossed.errors import InputError

Reference = str | Sequence[str]
"""What a sample should say: a sentence, or several each of which is right."""


def read_texts(texts: Iterable[Any], name: str) -> list[str]:
    """Texts as a list.

    Args:
        texts: a list of them, or whatever gives one after the other.
        name: of the argument, for the error.

    Raises:
        InputError: a single text, whose characters are no sentences, or something else.
    """
    if _is_no_row(texts):
        raise InputError(f"{name}: found {_kind(texts)}, expected a list of texts")
    found = list(texts)
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise InputError(f"{name}, sentence {number}: found {_kind(text)}, expected a text")
    return found


def _is_no_row(texts: Any) -> bool:
    """Whether something has no texts, or none in an order that says what belongs together."""
    return isinstance(texts, (str, bytes, Mapping, Set)) or not isinstance(texts, Iterable)


def read_references(references: Iterable[Any]) -> list[list[str]]:
    """For each sample its references, of which there may be one.

    Raises:
        InputError: there is none for a sample, or something is no text.
    """
    if _is_no_row(references):
        raise InputError(
            f"references: found {_kind(references)}, expected a list with a text, or a list of"
            " texts, for each hypothesis"
        )
    found = []
    for number, texts in enumerate(references, start=1):
        if isinstance(texts, str):
            found.append([texts])
            continue
        own = read_texts(texts, f"references, sentence {number}")
        if not own:
            raise InputError(f"references, sentence {number}: found none, expected at least one")
        found.append(own)
    return found


def blank_lines(sentences: Sequence[str]) -> list[int]:
    """Which sentences have no text, counted from 1."""
    return [number for number, text in enumerate(sentences, start=1) if not text.strip()]


def _kind(value: object) -> str:
    return "a single text" if isinstance(value, str) else f"{type(value).__name__}"
