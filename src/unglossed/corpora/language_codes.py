"""Which language a token of a tokenizer stands for: mBART's `de_DE`, NLLB's `deu_Latn`, `<de>`."""

from __future__ import annotations

import re

from unglossed.corpora.languages import tokenisation
from unglossed.errors import InputError

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
    """A language's two-letter code without region or variety: `zh` for `zh-CN` and `yue`."""
    code = language.lower().replace("_", "-").split("-")[0]
    return _SAME.get(code, code)


def language_of(token: str) -> str | None:
    """Two-letter code of the language that a token stands for.

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
