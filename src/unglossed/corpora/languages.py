"""How the texts of a language are split into words: it is what a score counts, so none is guessed.

The names are sacreBLEU's. `docs/corpora/README.md` says which language has which, and why.
"""

from __future__ import annotations

from unglossed.errors import InputError

CHINESE = frozenset({"zh", "cmn", "yue"})
"""sacreBLEU's `zh` makes a word of each Chinese character and keeps numbers and names whole."""

BY_CHARACTER = frozenset({"bo", "dz", "ii", "ja", "km", "lo", "my", "th"})
"""Other languages that write no spaces between words: every character is a word (`char`)."""

_WRITTEN = frozenset(
    # The codes of ISO 639-1, every one a written language.
    """
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da
    de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz
    ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln
    lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi
    pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti
    tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """.split()
)


def tokenisation(language: str) -> str:
    """sacreBLEU's name of the tokenisation that texts of a language are scored with.

    `zh` for Chinese, `char` for other languages without spaces between words, `13a`, its default,
    for all others.

    Args:
        language: A code such as `de`; what follows a hyphen or underscore (`zh-CN`) is left aside.

    Raises:
        InputError: The code is unknown. A guess would be wrong without a sign of it: Chinese
            scored by words gives a few points where characters give twenty.
    """
    if not isinstance(language, str):
        raise InputError(f"language: found {language!r}, expected a code such as de")
    code = language.lower().replace("_", "-").split("-")[0]
    if code in CHINESE:
        return "zh"
    if code in BY_CHARACTER:
        return "char"
    if code in _WRITTEN:
        return "13a"
    raise InputError(
        f"language: found {language!r}, expected that of the written text: a two-letter code of ISO"
        " 639-1 as de, en, ko (scored by words), or of a language scored by characters:"
        f" {', '.join(sorted(CHINESE | BY_CHARACTER))}"
    )


def has_spaces(language: str) -> bool:
    """Whether a language writes spaces between its words.

    Raises:
        InputError: See `tokenisation`.
    """
    return tokenisation(language) == "13a"
