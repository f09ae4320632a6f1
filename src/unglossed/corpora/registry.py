"""From a corpus spec, `kind:path` with options after `?`, to the reader of that kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

from unglossed.corpora import phoenix14t
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError

_READERS: dict[str, Callable[[str, Path, str | None], Corpus]] = {
    "phoenix14t": phoenix14t.read_phoenix14t,
}
_EXAMPLE = "phoenix14t:/data/PHOENIX-2014-T-release-v3"


def read_corpus(spec: str) -> Corpus:
    """Read all splits of a corpus.

    Args:
        spec: `kind:path`, as in `phoenix14t:/data/PHOENIX-2014-T-release-v3`. With
            `?language=en` the texts are taken to be in that language.

    Raises:
        InputError: The spec or what lies at the path is not as expected.
    """
    kinds = ", ".join(_READERS)
    kind, colon, rest = spec.partition(":")
    if not colon:
        raise InputError(
            f"corpus {spec!r}: no kind, expected kind:path with a kind of {kinds}, as {_EXAMPLE}"
        )
    if kind not in _READERS:
        raise InputError(f"corpus {spec!r}: unknown kind {kind!r}, expected one of {kinds}")
    path, language = _split_options(spec, rest)
    if not path:
        raise InputError(f"corpus {spec!r}: no path, expected kind:path, as {_EXAMPLE}")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, expected a corpus of the kind {kind} ({kinds})")
    return _READERS[kind](spec, root, language)


def _split_options(spec: str, rest: str) -> tuple[str, str | None]:
    path, mark, query = rest.rpartition("?")
    if not mark:
        return rest, None
    if "=" not in query:
        raise InputError(f"corpus {spec!r}: option {query!r}, expected language=CODE")
    language = None
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key != "language":
            raise InputError(f"corpus {spec!r}: unknown option {key!r}, expected language")
        if not re.fullmatch(r"[a-z]{2,3}", value):
            raise InputError(f"corpus {spec!r}: language {value!r}, expected a code as de, en, zh")
        language = value
    return path, language
