"""Which texts are in another language than the one that was asked for: off-target translations.

A text's language is told by py3langid (extra `languages`), which holds its model in the package and
chooses among the languages that the translator writes: a sentence of a few words is too short to
be told from all the world's languages. It says nothing of how good a text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from unglossed.corpora.languages import base_language

PACKAGE = "py3langid"


def why_unknown(languages: Sequence[str]) -> str | None:
    """Why it cannot be told which of these languages a text is in; None: it can.

    Args:
        languages: codes, as the translator writes them.
    """
    if find_spec(PACKAGE) is None:
        return f"needs the package {PACKAGE}: pip install 'unglossed[languages]'"
    codes = [base_language(code) for code in languages]
    if len(set(codes)) < len(codes):
        return f"{', '.join(languages)} cannot be told apart"
    strange = [code for code in languages if base_language(code) not in _identifier().labels]
    return f"{PACKAGE} does not know {', '.join(strange)}" if strange else None


def off_target(
    texts: Sequence[str], asked: Sequence[str], languages: Sequence[str]
) -> list[bool] | None:
    """Whether each text is in another language than the one that was asked for.

    One without a letter is in none, and so not in another.

    Args:
        texts: what was written.
        asked: for each the code of the language.
        languages: all that the translator writes.

    Returns:
        An answer for each text; None: it cannot be told, see `why_unknown`.
    """
    if why_unknown(languages) is not None:
        return None
    identifier = _identifier(tuple(sorted(base_language(code) for code in languages)))
    return [
        any(map(str.isalpha, text)) and identifier.classify(text)[0] != base_language(code)
        for text, code in zip(texts, asked, strict=True)
    ]


@cache
def _identifier(languages: tuple[str, ...] = ()) -> Any:
    """What tells one of these languages from the others, or of all that it knows."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    found = LanguageIdentifier.from_model_file(MODEL_FILE)
    if languages:
        found.set_languages(languages)
    return found
