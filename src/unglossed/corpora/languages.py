"""Codes of languages, and how scores split the texts of a language into words.

The names of tokenisations are sacreBLEU's. An unknown language is an error rather than a guess.
`docs/corpora/README.md` says which language has which, and why.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

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
    """Get sacreBLEU's name of the tokenisation that texts of a language are scored with.

    `zh` for Chinese, `char` for other languages without spaces between words, `13a`, its default,
    for all others.

    Args:
        language: A code such as `de`; what follows a hyphen or underscore (`zh-CN`) is ignored.

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


def check_language(language: str) -> str:
    """Give a language's code back.

    Raises:
        ValueError: It is that of no written language, see `tokenisation`.
    """
    try:
        tokenisation(language)
    except InputError as error:
        raise ValueError(str(error).removeprefix("language: ")) from None
    return language


def has_spaces(language: str) -> bool:
    """Whether a language writes spaces between its words.

    Raises:
        InputError: As `tokenisation`.
    """
    return tokenisation(language) == "13a"


def language_name(language: str) -> str | None:
    """Get a language's English name, such as `German`; None: it has none here."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES  # seldom needed

    name = LANGUAGES.get(base_language(language))
    return None if name is None else name.title()


_CODE = re.compile(
    r"(?P<mbart>[a-z]{2})_[A-Z]{2}|(?P<nllb>[a-z]{3})_[A-Z][a-z]{3}"
    r"|__(?P<m2m>[a-z]{2})__|<\|?2?(?P<tag>[a-z]{2})\|?>"
)
"""The forms of mBART, NLLB and M2M100; `<de>` as trained here, `<2de>` and `<|de|>` elsewhere."""

_TWO_LETTERS = dict(
    # Codes of ISO 639-3 as NLLB has them, with those of ISO 639-1.
    pair.split(":")
    for pair in """
    afr:af aka:ak als:sq amh:am arb:ar asm:as ayr:ay azj:az bak:ba bam:bm bel:be ben:bn bod:bo
    bos:bs bul:bg cat:ca ces:cs ckb:ku cym:cy dan:da deu:de dzo:dz ekk:et ell:el eng:en epo:eo
    est:et eus:eu ewe:ee fao:fo fij:fj fin:fi fra:fr fuv:ff gaz:om gla:gd gle:ga glg:gl grn:gn
    guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id isl:is ita:it jav:jv
    jpn:ja kan:kn kas:ks kat:ka kaz:kk khk:mn khm:km kik:ki kin:rw kir:ky kmr:ku kon:kg kor:ko
    lao:lo lim:li lin:ln lit:lt ltz:lb lug:lg lvs:lv mal:ml mar:mr mkd:mk mlt:mt mri:mi mya:my
    nld:nl nno:no nob:no npi:ne nya:ny oci:oc ory:or pan:pa pbt:ps pes:fa plt:mg pol:pl por:pt
    prs:fa quy:qu ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl smo:sm sna:sn snd:sd
    som:so sot:st spa:es srd:sc srp:sr ssw:ss sun:su swe:sv swh:sw tam:ta tat:tt tel:te tgk:tg
    tgl:tl tha:th tir:ti tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzn:uz vie:vi
    wol:wo xho:xh ydd:yi yor:yo zho:zh zsm:ms zul:zu cmn:zh yue:zh
    """.split()
)
_SAME = {"nb": "no", "nn": "no", **_TWO_LETTERS}


def base_language(language: str) -> str:
    """Get a language's two-letter code without region or variety: `zh` for `zh-CN` and `yue`."""
    code = language.lower().replace("_", "-").split("-")[0]
    return _SAME.get(code, code)


def language_of(token: str) -> str | None:
    """Get the two-letter code of the language that a token stands for.

    None for any other token, and for languages that have no code of ISO 639-1.
    """
    match = _CODE.fullmatch(token)
    if match is None:
        return None
    code = base_language(match[match.lastgroup or 0])
    try:
        tokenisation(code)
    except InputError:
        return None
    return code


def generated_language(base: Path) -> str | None:
    """Read the language that a generated corpus notes; None if it was not generated.

    Args:
        base: Folder of the layout. The note lies in it or in the folder above.

    Raises:
        InputError: The note cannot be read.
    """
    for folder in (base, base.resolve().parent):
        path = folder / "generated.json"
        if not path.is_file():
            continue
        try:
            language = json.loads(path.read_text(encoding="utf-8")).get("language")
        except (ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: not the JSON object of a generated corpus: {error}"
            ) from error
        return str(language) if language else None
    return None
