"""What can be wrong with a sentence by itself: a wrong encoding, and characters that nobody typed.

A million sentences pass the quick looks at the top of each function; only what fails them is
looked at closely. Nothing is repaired here.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import ftfy
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES

from unglossed.corpora.reading import LOST_CHARACTER

NUM_CHARACTERS_AROUND = 12

# ftfy's own expression takes 20 us a sentence. What it finds holds one of these characters, always,
# and a neighbour outside ASCII as well, unless it is one of the rare ones. Plain small letters and
# common marks do not count ("größer", "l’été").
_PLAIN = "".join(MOJIBAKE_CATEGORIES[name] for name in ("lower_common", "common")) + "ò-öø-ü"
_PLAIN += MOJIBAKE_CATEGORIES["lower_accented"].replace("œ", "")
_RARE = "ŒœÂÃÎÐØÙ" + MOJIBAKE_CATEGORIES["c1"] + LOST_CHARACTER
_SUSPECT = (
    "Ò-ÖÙ-ÜŐŌŪŲ°"
    + _RARE
    + "".join(
        MOJIBAKE_CATEGORIES[name]
        for name in "bad law currency start_punctuation end_punctuation numeric upper_accented"
        " upper_common box".split()
    )
)
_HAS_SUSPECT = re.compile(f"[{_SUSPECT}]").search
_HAS_PAIR = re.compile(f"[{_RARE}]|[{_SUSPECT}][{_SUSPECT}{_PLAIN}]|[{_PLAIN}][{_SUSPECT}]").search
# »Äpfel« is German, and bad for ftfy.
_QUOTES = str.maketrans(dict.fromkeys("»«›‹„“”‚‘’", '"'))

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CONTROL_TOKEN = re.compile(
    r"</?s>|<(?:pad|unk|mask|bos|eos|extra_id_\d+)>|<\|[^<>|]+\|>|\[(?:CLS|SEP|PAD|UNK|MASK|/?INST)\]"
)
# What programs write where there is no value, or none that they could compute.
_NO_VALUE = {"nan", "none", "null", "<na>", "n/a", "#n/a", "#name?", "#ref!", "#value!", "#div/0!"}
# Between letters: 'quoted' words and feet (5') are no apostrophes.
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['’ʼ＇`´](?=[^\W\d_])")
# Which of the curled ones are used is a matter of language; several of them are no slip.
_STRAIGHT = re.compile('["＂]')
_CURLED = re.compile("[“”„«»]")
_SPACES = re.compile(r" {2,}")
_UNSEEN = {
    "\t": "tab",
    "\n": "line break",
    "\r": "carriage return",
    "\u00ad": "soft hyphen",
    "\u200b": "zero-width space",
    "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark",
    "\u2028": "line separator",
    "\u2029": "paragraph separator",
    "\u2060": "word joiner",
    "\ufeff": "byte order mark",
}
# The zero-width joiners U+200C and U+200D are left alone: several scripts are written with them.
_CONTROLS = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2061-\\u2064{''.join(_UNSEEN)}]")


def may_be_damaged(text: str) -> bool:
    """Look quickly whether `find_mojibake` may find something; never wrongly False."""
    return not text.isascii() and bool(_HAS_SUSPECT(text) and _HAS_PAIR(text))


def find_mojibake(text: str) -> tuple[str, bool] | None:
    """Tell where a sentence was damaged by a wrong encoding, and what it may have been.

    Args:
        text: A sentence in Unicode NFC.

    Returns:
        The place and ftfy's repair in words, and whether it is sure: ftfy can undo the damage, or
        a character was replaced by U+FFFD. None: nothing was found.
    """
    if LOST_CHARACTER in text:
        place = text.index(LOST_CHARACTER)
        return f"found {_around(text, place, place + 1)}: a character was lost (U+FFFD)", True
    match = BADNESS_RE.search(text)
    if match is None:
        return None
    found = _around(text, *match.span())
    repaired = ftfy.fix_encoding(text)
    if repaired != text:
        pairs = enumerate(zip(text, repaired, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), len(repaired) - 1)
        return f"found {found}, which was perhaps {_around(repaired, place, place + 1)}", True
    if BADNESS_RE.search(text.translate(_QUOTES)):
        return f"perhaps a wrong encoding at {found}", False
    return None


def find_odd_text(text: str) -> str | None:
    """Tell which characters of a sentence nobody meant to write.

    Those are control and zero-width characters, soft hyphens, HTML entities, names of control
    tokens, several spaces in a row, and white space at either end.

    Args:
        text: A sentence.

    Returns:
        What was found, in words; None: nothing was.
    """
    if (
        text.isprintable()
        and "  " not in text
        and "&" not in text
        and "<" not in text
        and "[" not in text
        and text[:1] != " "
        and text[-1:] != " "
    ):
        return None
    return ", ".join(_oddities(text)) or None


def find_no_value(text: str) -> str | None:
    """Tell whether a sentence is none, but what a program writes where there is no value.

    Args:
        text: A sentence.

    Returns:
        What was found, in words; None: nothing was.
    """
    if text.strip().lower() not in _NO_VALUE:
        return None
    return f"{text!r} is what programs write where there is no value"


def count_forms(texts: Iterable[str]) -> Iterator[str]:
    """Tell which signs stand in the texts in two forms that mean the same.

    A model learns both and scores take them for different, so that each costs points.

    Args:
        texts: All sentences of a corpus in one language.

    Yields:
        For each such sign the forms, with the number of texts that have each.
    """
    apostrophes: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for text in texts:
        apostrophes.update(set(_APOSTROPHE.findall(text)))
        straight, curled = _STRAIGHT.search(text), _CURLED.search(text)
        if (straight is None) != (curled is None):
            marks["straight" if straight else "curled"] += 1
    for name, counts in (("apostrophes", apostrophes), ("quotation marks", marks)):
        if len(counts) > 1:
            found = ", ".join(f"{form} in {count:,}" for form, count in counts.most_common())
            yield f"found {name} in {len(counts)} forms: {found} texts, expected one form"


def _oddities(text: str) -> Iterator[str]:
    if text[:1].isspace():
        yield f"white space at the begin {text[:NUM_CHARACTERS_AROUND]!r}"
    if text[-1:].isspace():
        yield f"white space at the end {text[-NUM_CHARACTERS_AROUND:]!r}"
    if match := _SPACES.search(text.strip()):
        found = _around(text.strip(), *match.span())
        yield f"{len(match[0])} spaces in a row at {found}"
    # "R&D;" looks like an entity and is none.
    named = [match for match in _ENTITY.finditer(text) if html.unescape(match[0]) != match[0]]
    if named:
        entity = named[0][0]
        yield f"HTML entity {entity!r} for {html.unescape(entity)!r}"
    if match := _CONTROL_TOKEN.search(text):
        yield f"control token {match[0]!r}, which training takes for plain letters"
    for mark in dict.fromkeys(_CONTROLS.findall(text.strip())):
        place = text.index(mark)
        name = _UNSEEN.get(mark, "control character")
        yield f"{name} U+{ord(mark):04X} at {_around(text, place, place + 1)}"


def _around(text: str, start: int, end: int) -> str:
    """A part of a text with its neighbours, quoted."""
    first, last = max(0, start - NUM_CHARACTERS_AROUND), end + NUM_CHARACTERS_AROUND
    before, after = "…" if first else "", "…" if last < len(text) else ""
    return repr(before + text[first:last] + after)
